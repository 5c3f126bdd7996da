"""Connections of our own: one that only looks, and one that works in a transaction under the migration lock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from flue_sqla.dialects.ddl import NO_TRANSLATION, Obstacle, SchemaDialect, pause, schema_dialect
from flue_sqla.schema.facts import Placement
from flue_sqla.schema.failures import as_refusal, lock_timeout, unavailable
from flue_sqla.schema.verdict import Verdict, judge_placed, not_there

__all__ = ["connected", "glance_at", "under_lock"]

T = TypeVar("T")

_COLLISION_ATTEMPTS = 10
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


def under_lock(bind: sa.Engine | sa.Connection, schema: str | None, timeout_ms: int, work: Callable[[sa.Connection], T]) -> T:
    """Run ``work`` in one transaction that holds the migration lock of ``schema``.

    With an engine the transaction is ours: committed when ``work`` returns, rolled back when it raises, and run again while another
    session holds a table (PostgreSQL) or created the same thing at the same moment. On a connection it is tried once, and a transaction
    that the caller began is neither committed nor rolled back.

    Raises:
        MigrationLockTimeout: a lock was not granted within ``timeout_ms``.
        DatabaseUnavailableError: the database cannot be reached.
        SchemaPermissionError: the role may not do it, or the file is read-only.
    """
    ways = schema_dialect(bind.dialect)
    deadline = time.monotonic() + timeout_ms / 1000
    delay = _FIRST_PAUSE_S
    collisions = 0
    while True:
        try:
            return _attempt(bind, ways, schema, max(0, round((deadline - time.monotonic()) * 1000)), timeout_ms, work)
        except DBAPIError as error:
            obstacle = ways.obstacle(error)
            collisions += obstacle is Obstacle.COLLISION
            again = obstacle is Obstacle.LOCKED or (obstacle is Obstacle.COLLISION and collisions < _COLLISION_ATTEMPTS)
            if isinstance(bind, sa.Connection) or not again or time.monotonic() + delay >= deadline:
                refusal = as_refusal(error, ways, bind.engine.url, timeout_ms)
                if refusal is None:
                    raise
                raise refusal from error
        pause(delay)
        delay = min(delay * 2, _LONGEST_PAUSE_S)


def _attempt(
    bind: sa.Engine | sa.Connection,
    ways: SchemaDialect,
    schema: str | None,
    remaining_ms: int,
    timeout_ms: int,
    work: Callable[[sa.Connection], T],
) -> T:
    with _transaction(bind, ways) as (connection, ours):
        hold = ways.lock if ours else ways.join
        with hold(connection, schema, remaining_ms) as granted:
            if not granted:
                raise lock_timeout(timeout_ms)
            return work(connection)


@contextmanager
def _transaction(bind: sa.Engine | sa.Connection, ways: SchemaDialect) -> Iterator[tuple[sa.Connection, bool]]:
    """The connection, in a transaction, and whether that transaction is ours."""
    if isinstance(bind, sa.Connection):
        # A caller's connection keeps its isolation level: one that does not see the last holder's work collides, and changes nothing.
        with _untranslated(bind):
            if bind.in_transaction():
                yield bind, False
            else:
                with bind.begin():
                    yield bind, True
        return
    with connected(bind) as connection:
        connection.execution_options(**ways.begin_options, **NO_TRANSLATION)
        with connection.begin():
            yield connection, True


@contextmanager
def connected(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection of the engine's pool.

    Raises DatabaseUnavailableError when none can be had.
    """
    try:
        connection = engine.connect()
    except (DBAPIError, OSError, TimeoutError, sa.exc.TimeoutError) as error:
        raise unavailable(engine.url, engine.dialect, error) from error
    with connection:
        yield connection


def glance_at(engine: sa.Engine, placement: Placement) -> Verdict:
    """The verdict over a connection of our own: one statement on a current database, no transaction around it, no lock.

    A file that is not there stays so.

    Raises DatabaseUnavailableError or SchemaPermissionError where the database cannot be reached or read.
    """
    ways = schema_dialect(engine.dialect)
    missing = ways.missing_file(engine.url)
    if missing is not None:
        return not_there(missing, placement)
    try:
        with connected(engine) as connection:
            connection.execution_options(**ways.glance_options, **NO_TRANSLATION)
            return judge_placed(connection, placement)
    except DBAPIError as error:
        refusal = as_refusal(error, ways, engine.url, 0)
        if refusal is None:
            raise
        raise refusal from error


@contextmanager
def _untranslated(connection: sa.Connection) -> Iterator[None]:
    """Keep a caller's translate map away from our tables, and put it back."""
    before = connection.get_execution_options().get("schema_translate_map")
    connection.execution_options(**NO_TRANSLATION)
    try:
        yield
    finally:
        if not connection.closed:
            connection.execution_options(schema_translate_map=before)
