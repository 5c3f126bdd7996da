"""Values of a row as JSON and back, and what a column may hold."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.models.base import Flag
from flue_sqla.snapshot.catalogue import SnapshotTable
from flue_sqla.snapshot.layout import Row

__all__ = ["Problem", "RowCodec", "kind_of"]

_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


class Problem(Exception):
    """What is wrong with one value; whoever knows table and row makes an error of it."""


def kind_of(column: sa.Column[Any]) -> type:
    """The Python type of a column's values."""
    if isinstance(column.type, Flag):
        return bool
    if isinstance(column.type, sa.LargeBinary):
        return bytes
    return int if isinstance(column.type, sa.Integer) else str


class RowCodec:
    """Lines of one table: a JSON array of the row's values, bytes as base64."""

    def __init__(self, table: SnapshotTable, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._kinds = [kind_of(table.table.c[name]) for name in columns]
        self._binary = [place for place, kind in enumerate(self._kinds) if kind is bytes]
        self._checks = [_check(table.table.c[name], kind) for name, kind in zip(columns, self._kinds, strict=True)]
        self._width = len(self._kinds)

    def encode(self, row: Row) -> bytes:
        """One line, its end included.

        Raises:
            Problem: a value that has no faithful form.
        """
        values: Sequence[Any] = row
        if self._binary:
            values = list(row)
            for place in self._binary:
                if row[place] is not None:
                    values[place] = base64.b64encode(row[place]).decode("ascii")
        try:
            return _encode(values).encode() + b"\n"
        except (TypeError, UnicodeEncodeError) as error:
            raise Problem(f"a value cannot be written: {error}") from error

    def check_kinds(self, row: Row) -> None:
        """Refuse values of another type than their column's; for databases whose columns take any.

        Raises:
            Problem: naming the column.
        """
        for name, kind, value in zip(self.columns, self._kinds, row, strict=True):
            if value is not None and type(value) is not kind:
                raise Problem(f"{name} holds a {type(value).__name__} where the column is {kind.__name__}")

    def decode(self, line: bytes) -> Row:
        """The row of one line, every value of its column's type.

        Raises:
            Problem: the line is no row of this table.
        """
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise Problem("the line is not JSON") from error
        if type(values) is not list or len(values) != self._width:
            raise Problem(f"the line is not an array of {self._width} values")
        for place in self._binary:
            if values[place] is not None:
                values[place] = _decoded(values[place], self.columns[place])
        for check, value in zip(self._checks, values, strict=True):
            check(value)
        return tuple(values)


def _decoded(value: Any, column: str) -> bytes:
    if type(value) is not str:
        raise Problem(f"{column} is not base64 text")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(f"{column} is not base64 text") from error


def _check(column: sa.Column[Any], kind: type) -> Callable[[Any], None]:
    name = column.name
    # A column that only one profile may leave empty has its value elsewhere there; the logical row always has it.
    nullable = bool(column.nullable) and "nullable_in" not in column.info

    def check(value: Any) -> None:
        if type(value) is kind:
            return
        if value is None:
            if nullable:
                return
            raise Problem(f"{name} is null")
        raise Problem(f"{name} is a {type(value).__name__}, not a {kind.__name__}")

    def check_text(value: Any) -> None:
        check(value)
        if value is not None and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Problem(f"{name} holds a lone surrogate") from None

    return check_text if kind is str else check
