"""The engines that we create ourselves. A host's engine is used as it is."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.ext.asyncio import create_async_engine as sa_create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from flue_sqla.dialects.sqlite_file import in_memory
from flue_sqla.errors import ConfigurationError

__all__ = ["create_async_engine", "create_engine", "normalize_url"]

_SYNC_DRIVERS = {"postgresql": "psycopg", "postgres": "psycopg", "mysql": "pymysql", "mariadb": "pymysql", "sqlite": "pysqlite"}
_ASYNC_DRIVERS = {**_SYNC_DRIVERS, "mysql": "asyncmy", "mariadb": "asyncmy", "sqlite": "aiosqlite"}
# Which extra of ours brings the drivers above; Python itself brings pysqlite.
_EXTRAS = {"psycopg": "postgres", "pymysql": "mysql", "asyncmy": "mysql", "aiosqlite": "sqlite-async"}
_SYNC_TO_ASYNC = {"pysqlite": "aiosqlite", "pymysql": "asyncmy"}
_ASYNC_TO_SYNC = {"aiosqlite": "pysqlite", "asyncmy": "pymysql", "aiomysql": "pymysql", "asyncpg": "psycopg"}

_BUSY_TIMEOUT_MS = 30_000
_PREPARE_AFTER = 5


def normalize_url(url: str | sa.URL, *, asynchronous: bool = False) -> sa.URL:
    """The URL with a driver that fits the face: a bare scheme gets ours, a driver of the other face its twin.

    Raises:
        ConfigurationError: not a database URL, or of a database that is not supported.
    """
    if not isinstance(url, str | sa.URL):
        raise ConfigurationError(
            f"A database URL is a text or a sqlalchemy.URL, found {type(url).__name__}.", remedy="Give an engine as engine=…."
        )
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        # The text of the URL is not shown: it may hold a password.
        raise ConfigurationError(
            "The database URL cannot be parsed.", remedy="Write it as dialect+driver://user:password@host:port/database."
        ) from None
    backend, _, driver = parsed.drivername.partition("+")
    if backend not in _SYNC_DRIVERS:
        raise ConfigurationError(
            f"The database {backend!r} is not supported.",
            meta={"dialect": backend},
            remedy="Use a postgresql, mysql, mariadb or sqlite URL.",
        )
    if not driver:
        driver = (_ASYNC_DRIVERS if asynchronous else _SYNC_DRIVERS)[backend]
    driver = (_SYNC_TO_ASYNC if asynchronous else _ASYNC_TO_SYNC).get(driver, driver)
    return parsed.set(drivername=f"{'postgresql' if backend == 'postgres' else backend}+{driver}")


def create_engine(url: str | sa.URL) -> sa.Engine:
    """A sync engine for ``url`` with the settings that each database needs."""
    parsed = normalize_url(url)
    engine: sa.Engine = _created(sa.create_engine, parsed, _arguments(parsed, QueuePool))
    _listen(engine)
    return engine


def create_async_engine(url: str | sa.URL) -> AsyncEngine:
    """The async twin of :func:`create_engine`."""
    parsed = normalize_url(url, asynchronous=True)
    engine: AsyncEngine = _created(sa_create_async_engine, parsed, _arguments(parsed, AsyncAdaptedQueuePool))
    _listen(engine.sync_engine)
    return engine


def _created(create: Any, url: sa.URL, arguments: dict[str, Any]) -> Any:
    try:
        return create(url, **arguments)
    except NoSuchModuleError:
        raise ConfigurationError(
            f"SQLAlchemy knows no driver {url.get_driver_name()!r} of {url.get_backend_name()}.",
            meta={"driver": url.get_driver_name()},
            remedy=_without_driver(url),
        ) from None
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        what = error.name if missing else url.get_driver_name()
        raise ConfigurationError(
            f"The driver {what!r} is not installed." if missing else f"The driver {what!r} cannot be imported: {_first_line(error)}",
            meta={"driver": what},
            remedy=_how_to_install(url),
        ) from error


def _how_to_install(url: sa.URL) -> str:
    extra = _EXTRAS.get(url.get_driver_name())
    return f"Run: pip install 'flue-sqla[{extra}]'" if extra else f"Install the package of that driver, or: {_without_driver(url)}"


def _without_driver(url: sa.URL) -> str:
    backend = url.get_backend_name()
    extra = _EXTRAS.get(_SYNC_DRIVERS[backend])
    return f"Write {backend}://…, which takes a driver of ours" + (f" (pip install 'flue-sqla[{extra}]')." if extra else ".")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _arguments(url: sa.URL, queue_pool: Any) -> dict[str, Any]:
    backend, driver = url.get_backend_name(), url.get_driver_name()
    if backend == "postgresql":
        # Prepared statements do not survive a transaction-mode pooler; see _prepare_statements_when_direct.
        return {"connect_args": {"prepare_threshold": None}} if driver == "psycopg" else {}
    if backend in ("mysql", "mariadb"):
        # A fresh snapshot per statement: our gates are locking reads, and gap locks would only make neighbours wait.
        return {"isolation_level": "READ COMMITTED"}
    arguments: dict[str, Any] = {"connect_args": {"check_same_thread": False}}
    if in_memory(url):
        # One connection that threads queue for: each further one would be an empty database of its own.
        arguments |= {"poolclass": queue_pool, "pool_size": 1, "max_overflow": 0, "pool_recycle": -1}
    return arguments


def _listen(engine: sa.Engine) -> None:
    if engine.dialect.driver in ("psycopg", "psycopg_async"):
        event.listen(engine, "connect", _prepare_statements_when_direct)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        if engine.dialect.is_async:
            event.listen(engine, "invalidate", _let_go_of_the_lock)


def _prepare_statements_when_direct(connection: Any, _record: Any) -> None:
    """Let the driver prepare statements, which halves their cost, unless a pooler is between us and the server.

    A transaction-mode pooler hands its server connections from client to client: there, a prepared name may be somebody else's
    statement. A pooler gives its clients process ids of its own making, so one look tells.
    """
    cursor = connection.cursor()
    try:
        cursor.execute("SELECT pg_backend_pid()")
        backend_pid = cursor.fetchone()[0]
    finally:
        cursor.close()
    connection.rollback()
    driver = getattr(connection, "driver_connection", connection)
    if driver.info.backend_pid == backend_pid:
        driver.prepare_threshold = _PREPARE_AFTER


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would be a deferred one; see _begin_sqlite
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA journal_mode")
        if cursor.fetchone()[0] == "delete":
            _switch_to_wal(cursor)
    finally:
        cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """Not somebody else's file, which may only be looked at: it is ours once it has tables of ours, and new while it has none."""
    try:
        cursor.execute("SELECT count(*), sum(name GLOB 'flue_*') FROM sqlite_master")
        tables, ours = cursor.fetchone()
        if tables and not ours:
            return
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.fetchone()
    except Exception as error:
        # A read-only file keeps its mode; another process may be switching right now. Neither matters for correctness.
        if "readonly" not in str(error) and "locked" not in str(error):
            raise


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes its lock first: a deferred transaction that reads and then writes fails when another one wrote in between.
    # None: no transaction of ours, for a single statement. One that writes takes the lock before it reads anything, waits for it as long
    # as a BEGIN would, and has committed when it has given its last row; through aiosqlite the BEGIN alone is three turns of eight.
    options = connection.get_execution_options()
    mode = options.get("flue_begin", "IMMEDIATE")
    if mode is not None and options.get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql(f"BEGIN {mode}")


def _let_go_of_the_lock(connection: Any, _record: Any, _error: BaseException | None) -> None:
    """Roll back before a cancelled call's connection is closed.

    A cursor that the cancellation left behind keeps a closed connection half alive (``sqlite3_close_v2``), and with it the write lock of
    its transaction, for as long as anything refers to the cursor.
    """
    with contextlib.suppress(sqlite3.Error, ValueError, asyncio.CancelledError):
        if in_greenlet():
            # Shielded: a second cancellation ends the waiting, not the rollback, which stands in the queue before the close.
            await_only(asyncio.shield(connection.driver_connection.rollback()))
