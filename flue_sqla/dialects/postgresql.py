"""PostgreSQL: one statement per operation, advisory locks, NOTIFY."""

from __future__ import annotations

import select
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.exc import DBAPIError

from flue_sqla.dialects.base import DialectImpl, Fault
from flue_sqla.errors import FlueError, ValueTooLargeError

if TYPE_CHECKING:
    from flue_sqla.repositories.scope import Executor

__all__ = ["PostgreSQLImpl", "materialized", "row_version", "session_lock_key"]

_CONFLICTS = frozenset({"40001", "40P01", "55P03"})
_SHUTDOWNS = frozenset({"57P01", "57P02", "57P03", "57P05"})

_KEY = sa.bindparam("session_key", type_=sa.Text())


def session_lock_key(session_key: sa.ColumnElement[str]) -> sa.ColumnElement[int]:
    """The advisory lock key of a session, the one that G1 servers take as well (spec/submissions.md §9.1)."""
    return sa.func.hashtext(session_key, type_=sa.Integer())


def row_version(table: sa.FromClause) -> sa.ColumnElement[Any]:
    """``xmin``: which transaction wrote the version of the row that a statement looks at."""
    return sa.column("xmin", _selectable=table)


def materialized(query: sa.Select[Any], name: str) -> sa.CTE:
    """A CTE that is evaluated once and before whatever selects from it."""
    return query.cte(name).prefix_with("MATERIALIZED")


def _state(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)


_LOCK_SESSION = sa.select(sa.func.pg_advisory_xact_lock(session_lock_key(_KEY)))


class PostgreSQLImpl(DialectImpl):
    name: ClassVar[str] = "postgresql"
    single_statement: ClassVar[bool] = True
    update_returning: ClassVar[bool] = True
    locks_outer_joins: ClassVar[bool] = False
    autocommit_is_free: ClassVar[bool] = True
    plain_cursors: ClassVar[frozenset[str]] = frozenset({"psycopg", "psycopg_async"})
    notifications: ClassVar[bool] = True
    # Every gate is written for READ COMMITTED, where a statement that waited looks at the row again.
    write_isolation: ClassVar[str | None] = "READ COMMITTED"
    snapshot_isolation: ClassVar[str | None] = "REPEATABLE READ"

    def insert_ignore(self, table: sa.Table) -> Any:
        return pg.insert(table).on_conflict_do_nothing()

    def upsert(self, table: sa.Table, key: Sequence[str], replaced: Sequence[str], computed: Mapping[str, Any] | None = None) -> Any:
        insert = pg.insert(table)
        changes = {name: insert.excluded[name] for name in replaced} | dict(computed or {})
        return insert.on_conflict_do_update(index_elements=list(key), set_=changes)

    def json_field(self, document: sa.ColumnElement[str], key: str) -> sa.ColumnElement[str]:
        # Not ->>, which refuses a document with \u0000 anywhere. An unescaped quote cannot stand inside a JSON string, so this finds a key.
        return sa.func.substring(document, f'"{key}":"([^"\\\\]*)"', type_=sa.Text())

    def bytewise(self, text: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
        return text.collate("C")

    def lock_session(self, executor: Executor, session_key: str) -> None:
        executor.execute(_LOCK_SESSION, {"session_key": session_key})

    def fault(self, error: DBAPIError) -> Fault:
        state = _state(error)
        if state in _CONFLICTS:
            return Fault.CONFLICT
        if error.connection_invalidated or state in _SHUTDOWNS or (isinstance(state, str) and state.startswith("08")):
            return Fault.LOST
        return Fault.OTHER

    def table_missing(self, error: DBAPIError) -> bool:
        return _state(error) == "42P01"

    def refusal(self, error: DBAPIError) -> FlueError | None:
        if _state(error) != "54000":
            return super().refusal(error)
        # How long a key may be depends on how well it compresses, so the server is asked.
        return ValueTooLargeError(
            f"An identifier is too long for its index: {str(error.orig).partition(chr(10))[0]}", remedy="Use a shorter identifier."
        )

    def peer_closed(self, driver: Any) -> bool:
        is_closed = getattr(driver, "is_closed", None)
        if is_closed is not None:
            return bool(is_closed())
        if getattr(driver, "closed", False):
            return True
        socket = getattr(getattr(driver, "pgconn", None), "socket", None)
        if socket is None:
            return False
        # An idle connection has nothing to say: readable means the server ended it (an error message or end of file waits there).
        poll = select.poll()
        poll.register(socket, select.POLLIN)
        return bool(poll.poll(0))
