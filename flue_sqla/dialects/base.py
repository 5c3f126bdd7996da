"""What differs between databases, behind one protocol.

Repositories ask for *named capabilities* and never for a dialect's name. The defaults here are the portable behaviour: plain
statements in a write transaction whose gates are locking reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from flue_sqla.errors import DatabaseUnavailableError, FlueError, SchemaVersionError, ValueTooLargeError
from flue_sqla.models.base import Base
from flue_sqla.wire import utf16_length

if TYPE_CHECKING:
    from flue_sqla.repositories.scope import Executor

__all__ = ["DialectImpl", "Fault"]


class Fault(Enum):
    """What a driver's error means for the operation that met it."""

    CONFLICT = "conflict"
    """Nothing was written; the same transaction may succeed when it runs again (deadlock, serialization failure, busy file)."""
    LOST = "lost"
    """The connection broke; whether the statement was carried out is not known."""
    OTHER = "other"
    """Anything else: a refusal or a bug."""


class DialectImpl:
    """The portable behaviour; each database overrides what it does better or otherwise."""

    name: ClassVar[str] = "default"

    single_statement: ClassVar[bool] = False
    """Gate, write and read-back fit one statement: data-modifying CTEs with RETURNING."""
    update_returning: ClassVar[bool] = False
    """UPDATE … RETURNING."""
    autocommit_is_free: ClassVar[bool] = False
    """Switching one call to AUTOCOMMIT sends nothing to the server."""
    plain_cursors: ClassVar[frozenset[str]] = frozenset()
    """The drivers whose cursors take a compiled statement as it is, and whose connections have an ``autocommit`` to switch; see
    :mod:`flue_sqla.direct`."""
    row_locks: ClassVar[bool] = True
    """SELECT … FOR UPDATE locks rows; without it a write transaction locks everything."""
    locks_outer_joins: ClassVar[bool] = True
    """A locking read may lock rows that an outer join need not find."""
    skip_locked: ClassVar[bool] = True
    """SELECT … FOR UPDATE SKIP LOCKED."""
    lane_locks: ClassVar[bool] = False
    """Claims and joins take the session's lock as well, before any row (spec/submissions.md §9)."""
    loose_index_scan: ClassVar[bool] = False
    """GROUP BY over a prefix of an index reads one entry per group; elsewhere a recursive query does."""
    chunked_values: ClassVar[bool] = False
    """The ``sqlite`` profile: attachments and long texts are cut into chunk rows (spec/schema.md §3.7 to §3.9)."""
    row_value_ranges: ClassVar[bool] = True
    """``(a, b) < (x, y)`` is read as one range of an index on (a, b)."""
    recursive_walks: ClassVar[bool] = True
    """A recursive query may take as many steps as it needs."""
    notifications: ClassVar[bool] = False
    """A committed statement can wake other processes."""
    write_isolation: ClassVar[str | None] = None
    """The isolation level pinned for our own write transactions; None leaves the engine's."""
    snapshot_isolation: ClassVar[str | None] = None
    """The isolation level in which several reads see one state; None where :meth:`begin_snapshot` alone sees to it."""

    path_limit: ClassVar[int | None] = None
    """Longest stream path in UTF-16 units, where the contract limits it (spec/streams.md §4)."""
    key_limits: ClassVar[Mapping[str, int]] = {}
    """Longest value in characters of columns that would otherwise be truncated, by column name."""

    # -- statements -------------------------------------------------------------------------------------------------------------

    def insert_ignore(self, table: sa.Table) -> Any:
        """An INSERT that does nothing when a unique key already holds the row; ``rowcount`` is 0 then."""
        raise NotImplementedError

    def upsert(self, table: sa.Table, key: Sequence[str], replaced: Sequence[str], computed: Mapping[str, Any] | None = None) -> Any:
        """An INSERT that changes the row which already has this ``key``.

        The columns ``replaced`` take the new values; those of ``computed`` the given expressions, which see the stored row.
        """
        raise NotImplementedError

    def json_field(self, document: sa.ColumnElement[str], key: str) -> sa.ColumnElement[str]:
        """A top-level string of a JSON text, good enough to narrow a search: the caller checks what it found by parsing it."""
        raise NotImplementedError

    def bytewise(self, text: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
        """``text`` compared by its bytes, whatever the database's collation."""
        return text

    @property
    def snapshot_options(self) -> dict[str, Any]:
        """The execution options of a transaction that :meth:`begin_snapshot` is called in."""
        level = self.snapshot_isolation
        return {"flue_begin": "DEFERRED", **({"isolation_level": level} if level else {})}

    def begin_snapshot(self, connection: sa.Connection) -> None:
        """Called first in a transaction that only reads: from here on every SELECT sees one state."""

    def begin_write(self, executor: Executor) -> None:
        """Take whatever a write transaction needs before its first read. Most databases need nothing."""

    def lock_session(self, executor: Executor, session_key: str) -> None:
        """Hold the session's lock until the transaction ends (spec/submissions.md §9). Several sessions: in sorted order."""

    # -- limits -----------------------------------------------------------------------------------------------------------------

    def check_key(self, column: str, value: str) -> None:
        """Refuse a key that ``column`` would truncate or take for another one, before any statement.

        Raises:
            ValueTooLargeError: the value is longer than the column.
            InvalidInputError: the value compares equal to a shorter one.
        """
        limit = self.key_limits.get(column)
        if limit is not None and len(value) > limit:
            raise ValueTooLargeError(
                f"{column} has {len(value)} characters; on this database it holds at most {limit}.",
                meta={"column": column, "length": len(value), "limit": limit},
                remedy="Use a shorter identifier.",
            )

    def path_too_long(self, path: str) -> bool:
        """Whether the contract refuses ``path`` on this database (spec/streams.md §4)."""
        return self.path_limit is not None and utf16_length(path) > self.path_limit

    def check_packet(self, executor: Executor, *values: str | bytes) -> None:
        """Refuse values that together exceed what one statement may carry, before that statement.

        Raises:
            ValueTooLargeError: naming the server's setting and the size in bytes.
        """

    # -- errors -----------------------------------------------------------------------------------------------------------------

    def fault(self, error: DBAPIError) -> Fault:
        """Classify a driver's error."""
        if error.connection_invalidated:
            return Fault.LOST
        return Fault.OTHER

    def table_missing(self, error: DBAPIError) -> bool:
        """Whether a statement was refused because it names a table that is not there."""
        return False

    def refusal(self, error: DBAPIError) -> FlueError | None:
        """What a driver's error means to the caller: a table of ours is not there, or a value is refused that only the server can judge."""
        return _not_migrated(error) if self.table_missing(error) else None

    def unreachable(self, url: sa.URL) -> str:
        """What to do where no connection to ``url`` can be had."""
        return DatabaseUnavailableError.default_remedy

    def peer_closed(self, driver: Any) -> bool:
        """Whether a pooled connection of the driver is known to be dead before anything is sent on it; costs no round trip."""
        return False


def _not_migrated(error: DBAPIError) -> SchemaVersionError | None:
    """The refusal where the missing table is ours; a trigger of the host's may miss one of its own."""
    # Whatever language the server speaks, and however it quotes: its first line names the table.
    told = str(error.orig).partition("\n")[0]
    table = next((name for name in re.findall(r"\w+", told) if name in Base.metadata.tables), None)
    if table is None:
        return None
    return SchemaVersionError(
        f"The table {table} does not exist: the database, or the schema that was named, has not been migrated.",
        meta={"table": table},
        remedy="Call flue.boot() before the first use, or run `flue-sqla upgrade`.",
    )
