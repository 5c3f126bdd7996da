"""What a target database can hold, checked before anything is sent to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.dialects.base import DialectImpl
from flue_sqla.dialects.bulk import BulkDialect
from flue_sqla.errors import InvalidInputError
from flue_sqla.snapshot.layout import ChunkLayout, Row
from flue_sqla.snapshot.values import Problem, kind_of

__all__ = ["TargetLimits"]

Check = Callable[[Any], None]
_ESCAPED: Final = "'\"\\\0\n\r\x1a"
_STATEMENT_OVERHEAD: Final = 64 * 1024
_CALLED: Final = {
    ("flue_event_streams", "path"): "event_path",
    ("flue_event_stream_entries", "path"): "event_path",
    ("flue_sessions", "id"): "session_id",
}
"""What repositories call a column when they check a value for it, where another one of that name has other limits."""
_STREAM_PATHS: Final = frozenset({"path", "stream_path"})
_FREE: Final = frozenset({"content_type"})
"""Short texts that nobody looks for: blanks at their end are theirs."""


class TargetLimits:
    """The limits of one table of one database: lengths, ranges, characters.

    ``statement_limit`` is the size in bytes of the largest statement that the server takes, None for no limit worth checking;
    ``layout`` says how the target cuts the table, None where it does not.
    """

    def __init__(
        self,
        table: sa.Table,
        columns: Sequence[str],
        dialect: sa.Dialect,
        impl: DialectImpl,
        bulk: BulkDialect,
        statement_limit: int | None,
        layout: ChunkLayout | None,
    ) -> None:
        # What a profile cuts into chunk rows has no limit; such a column is not in the table itself.
        present = [(place, table.c[name]) for place, name in enumerate(columns) if name in table.c]
        checks = [(place, _check(column, column.type.dialect_impl(dialect), impl, bulk)) for place, column in present]
        self._checks = [(place, check) for place, check in checks if check is not None]
        self._statement_limit = statement_limit
        self._layout = layout
        self._columns = columns

    def check(self, row: Row) -> None:
        """Refuse a row that the target would refuse, cut or change.

        Raises:
            Problem: naming column and limit.
        """
        for place, check in self._checks:
            value = row[place]
            if value is not None:
                check(value)
        if self._statement_limit is not None:
            _check_statement(row, self._statement_limit)
        if self._layout is not None and (why := self._layout.ambiguous(self._columns, row)) is not None:
            raise Problem(why)


def _check(column: sa.Column[Any], stored_as: Any, impl: DialectImpl, bulk: BulkDialect) -> Check | None:
    kind = kind_of(column)
    if kind is int:
        return _integer(column.name, *bulk.integer_range(stored_as))
    if kind is not str:
        return None
    text = _text(column.name, stored_as, bulk)
    if text is None or getattr(stored_as, "length", None) is None or column.name in _FREE:
        return text
    return _both(text, _identifier(_CALLED.get((column.table.name, column.name), column.name), impl))


def _both(first: Check, second: Check) -> Check:
    def check(value: Any) -> None:
        first(value)
        second(value)

    return check


def _identifier(called: str, impl: DialectImpl) -> Check:
    """What the repositories would refuse, since this database could not tell it from another one, or the contract forbids it there."""

    def check(value: str) -> None:
        try:
            impl.check_key(called, value)
        except InvalidInputError as error:
            raise Problem(error.message.rstrip(".")) from None
        if called in _STREAM_PATHS and impl.path_too_long(value):
            raise Problem(f"{called} is longer than the {impl.path_limit} UTF-16 units that a stream may have on this database")

    return check


def _integer(name: str, lowest: int, highest: int) -> Check:
    def check(value: int) -> None:
        if not lowest <= value <= highest:
            shown = value if abs(value) < 10**30 else f"a number of {value.bit_length()} bits"
            raise Problem(f"{name} is {shown}; it must be from {lowest} to {highest}")

    return check


def _text(name: str, stored_as: Any, bulk: BulkDialect) -> Check | None:
    longest: int | None = getattr(stored_as, "length", None)
    ascii_only = getattr(stored_as, "charset", None) == "ascii"
    nul = bulk.nul_in_text
    if longest is None and nul:
        return None

    def check(value: str) -> None:
        if longest is not None and len(value) > longest:
            raise Problem(f"{name} has {len(value)} characters; on this database it holds at most {longest}")
        if ascii_only and not value.isascii():
            raise Problem(f"{name} holds characters that are not ASCII")
        if not nul and "\0" in value:
            raise Problem(f"{name} holds U+0000, which this database cannot store")

    return check


def _check_statement(row: Row, limit: int) -> None:
    values = [value for value in row if isinstance(value, str | bytes)]
    # No character takes more than four bytes, and no byte more than two when it is quoted.
    if sum(map(len, values)) * 8 + _STATEMENT_OVERHEAD < limit:
        return
    size = sum(map(_quoted_size, values)) + _STATEMENT_OVERHEAD
    if size > limit:
        raise Problem(f"the row needs a statement of about {size} bytes; the server takes at most {limit} (max_allowed_packet)")


def _quoted_size(value: str | bytes) -> int:
    if isinstance(value, bytes):
        return len(value) + sum(map(value.count, _ESCAPED.encode()))
    return len(value.encode()) + sum(map(value.count, _ESCAPED))
