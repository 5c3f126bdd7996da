"""MySQL and MariaDB: locking reads, a lock row per session, bounded identifiers and packets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError

from flue_sqla.dialects.base import DialectImpl, Fault
from flue_sqla.errors import InvalidInputError, ValueTooLargeError
from flue_sqla.models.tables import session_locks

if TYPE_CHECKING:
    from flue_sqla.repositories.scope import Executor

__all__ = ["MySQLImpl"]

_CONFLICTS = frozenset({1205, 1213, 1020})
_LOST = frozenset({2006, 2013, 2055, 1927, 1053, 4031})
_NO_SUCH_TABLE = 1146

_TOUCH_LOCK = mysql.insert(session_locks).on_duplicate_key_update(session_key=session_locks.c.session_key)
_HOLD_LOCK = sa.select(session_locks.c.session_key).where(session_locks.c.session_key == sa.bindparam("locked_key")).with_for_update()
_PACKET = sa.select(sa.literal_column("@@max_allowed_packet", sa.BigInteger()))
# What a statement carries besides the values themselves: its text, the other columns, escapes of the protocol.
_STATEMENT_OVERHEAD = 64 * 1024


class MySQLImpl(DialectImpl):
    name: ClassVar[str] = "mysql"
    lane_locks: ClassVar[bool] = True
    loose_index_scan: ClassVar[bool] = True
    row_value_ranges: ClassVar[bool] = False
    # After 1000 steps MySQL raises, and MariaDB silently stops.
    recursive_walks: ClassVar[bool] = False
    path_limit: ClassVar[int | None] = 255
    key_limits: ClassVar[Mapping[str, int]] = {
        "submission_id": 255,
        "session_key": 512,
        "attempt_id": 255,
        "owner_id": 255,
        "joined_into": 255,
        "settlement_record_id": 512,
        "path": 255,
        "producer_id": 128,
        "incarnation": 255,
        "head_offset": 64,
        "stream_path": 255,
        "attachment_id": 255,
        "mime_type": 255,
        "conversation_id": 255,
        "session_id": 512,
        "entry_id": 255,
        "operation_id": 255,
        "turn_id": 255,
        "phase": 32,
        "checkpoint_leaf_id": 255,
        "committed_leaf_id": 255,
        "stream_key": 512,
        "run_id": 255,
        "workflow_name": 255,
        "started_at": 64,
        "ended_at": 64,
        "traceparent": 255,
        "event_path": 512,
        "event_key": 255,
        "owner_part": 128,
        "image_id": 128,
    }

    ascii_columns: ClassVar[frozenset[str]] = frozenset({"started_at", "ended_at", "traceparent"})
    """Columns whose character set has nothing else; INSERT IGNORE would store question marks."""

    def __init__(self) -> None:
        self._packet_limit: int | None = None

    def begin_snapshot(self, connection: sa.Connection) -> None:
        # For this transaction only: SQLAlchemy's isolation_level is the session's, and a cancellation while it is set back would cost the
        # pool the connection.
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.exec_driver_sql("START TRANSACTION")

    def check_key(self, column: str, value: str) -> None:
        super().check_key(column, value)
        if column in self.ascii_columns and not value.isascii():
            raise InvalidInputError(f"{column} contains a character that is not ASCII.", meta={"column": column})
        if value.endswith(" "):
            raise InvalidInputError(
                f"{column} ends with a blank; this database would not tell it from the same text without one.",
                meta={"column": column},
                remedy="Strip the identifier.",
            )

    def insert_ignore(self, table: sa.Table) -> Any:
        # IGNORE would also truncate over-long keys; check_key refuses those before the statement.
        return sa.insert(table).prefix_with("IGNORE")

    def upsert(self, table: sa.Table, key: Sequence[str], replaced: Sequence[str], computed: Mapping[str, Any] | None = None) -> Any:
        insert = mysql.insert(table)
        changes = {name: insert.inserted[name] for name in replaced} | dict(computed or {})
        return insert.on_duplicate_key_update(changes)

    def json_field(self, document: sa.ColumnElement[str], key: str) -> sa.ColumnElement[str]:
        return sa.func.json_value(document, f"$.{key}", type_=sa.Text())

    def lock_session(self, executor: Executor, session_key: str) -> None:
        executor.execute(_TOUCH_LOCK, {"session_key": session_key})
        executor.execute(_HOLD_LOCK, {"locked_key": session_key})

    def check_packet(self, executor: Executor, *values: str | bytes) -> None:
        size = sum(len(value) if isinstance(value, bytes) else len(value.encode("utf-8", "surrogatepass")) for value in values)
        if size < 1024 * 1024 - _STATEMENT_OVERHEAD:
            return  # below the smallest default there is, without asking
        if self._packet_limit is None:
            self._packet_limit = int(executor.execute(_PACKET).scalar_one())
        # The driver writes values into the text of the statement, where some characters and all bytes become longer.
        size += sum(_escapes(value) for value in values) + _STATEMENT_OVERHEAD
        if size > self._packet_limit:
            raise ValueTooLargeError(
                f"The statement needs about {size} bytes; the server's max_allowed_packet is {self._packet_limit}.",
                meta={"setting": "max_allowed_packet", "size": size, "limit": self._packet_limit},
                remedy="Raise max_allowed_packet on the server (64M holds every legal batch), or store less at once.",
            )

    def fault(self, error: DBAPIError) -> Fault:
        number = _number(error)
        if number in _CONFLICTS:
            return Fault.CONFLICT
        if error.connection_invalidated or number in _LOST:
            return Fault.LOST
        return Fault.OTHER

    def table_missing(self, error: DBAPIError) -> bool:
        return _number(error) == _NO_SUCH_TABLE


def _number(error: DBAPIError) -> object:
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments else None


def _escapes(value: str | bytes) -> int:
    """How many bytes longer a literal is than its value."""
    if isinstance(value, bytes):
        return len(value)  # PyMySQL sends hexadecimal; other drivers send less, but what one can store the others should too
    return sum(map(value.count, ("'", '"', "\\", "\0", "\n", "\r", "\x1a")))
