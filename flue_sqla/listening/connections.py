"""Connections for listening: opened by the engine's own creator, and no part of its pool."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import PoolProxiedConnection

from flue_sqla.dialects.engines import create_async_engine, create_engine

__all__ = ["async_listen_engine", "detached", "driver_connection", "introduce", "listen_engine", "open_detached", "send"]


def open_detached(engine: sa.Engine) -> PoolProxiedConnection:
    """One more connection, made as the engine makes its own (creator, arguments, event hooks) but never a member of its pool.

    So a host's pool of size 1 stays free, and a checked-out pool does not delay us. Through the greenlet bridge for an async engine.
    """
    connection = engine.pool.recreate().connect()
    connection.detach()
    return connection


def introduce(engine: sa.Engine) -> None:
    """Let the engine's own pool make the very first connection, if there was none yet.

    At that one SQLAlchemy's dialect learns about the server, under the lock of that pool. If a connection outside of it came first, whoever
    uses the engine at the same moment would meet a dialect that has not finished learning.
    """
    if engine.dialect.server_version_info is None:
        engine.connect().close()


def driver_connection(engine: sa.Engine, opened: PoolProxiedConnection) -> Any:
    """The driver's own connection behind one of ours; a detached one does not tell by itself."""
    return engine.dialect.get_driver_connection(cast(DBAPIConnection, opened.dbapi_connection))


@contextlib.contextmanager
def detached(engine: sa.Engine) -> Iterator[PoolProxiedConnection]:
    """:func:`open_detached`, closed at the end of the block."""
    connection = open_detached(engine)
    try:
        yield connection
    finally:
        connection.close()


def send(engine: sa.Engine, channel: str, payload: str) -> None:
    """Notify from a connection of its own, by the way that real notifications take."""
    with detached(engine) as connection:
        cursor = connection.cursor()
        try:
            cursor.execute(*_notify(engine, channel, payload))
        finally:
            cursor.close()
        connection.commit()


def _notify(engine: sa.Engine, channel: str, payload: str) -> tuple[str, Any]:
    # Compiled by the dialect, since each driver writes its placeholders otherwise.
    statement = sa.select(sa.func.pg_notify(sa.literal(channel), sa.literal(payload)))
    compiled = statement.compile(dialect=engine.dialect)
    parameters = compiled.construct_params()
    if compiled.positional:
        return str(compiled), tuple(parameters[name] for name in compiled.positiontup or ())
    return str(compiled), parameters


def listen_engine(engine: sa.Engine, listen_url: str | None) -> sa.Engine:
    """Where to listen: the direct address if there is one (a transaction-mode pooler is in front), else the engine itself.

    Raises:
        ConfigurationError: the address is malformed, or the driver for it is not installed.
    """
    return engine if listen_url is None else create_engine(listen_url)


def async_listen_engine(engine: sa.Engine, listen_url: str | None) -> sa.Engine:
    """As :func:`listen_engine`, for the sync side of an async engine; an address without a driver gets that of the engine."""
    if listen_url is None:
        return engine
    url = sa.make_url(listen_url)
    if "+" not in url.drivername:
        url = url.set(drivername=engine.url.drivername)
    return create_async_engine(url).sync_engine
