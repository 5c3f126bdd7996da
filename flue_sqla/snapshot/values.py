"""Values of a row as JSON and back, and what a column may hold."""

from __future__ import annotations

import base64
import binascii
import json
import json.encoder
import re
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring
from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.models.base import Flag
from flue_sqla.snapshot.catalogue import SnapshotTable
from flue_sqla.snapshot.layout import Row

__all__ = ["Problem", "RowCodec", "kind_of"]
_ESCAPED_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


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
        self._nullable = [_may_be_null(table.table.c[name]) for name in columns]
        # Combinations of types that were found right; a table has few.
        self._good: set[tuple[type, ...]] = set()
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
            text = line.decode()
            values, end = _scan(text, 0)
        except (ValueError, StopIteration, RecursionError) as error:
            raise Problem("the line is not JSON") from error
        if end != len(text) or type(values) is not list or len(values) != self._width:
            raise Problem(f"the line is not an array of {self._width} values")
        for place in self._binary:
            if values[place] is not None:
                values[place] = _decoded(values[place], self.columns[place])
        types = tuple(map(type, values))
        if types not in self._good:
            self._check_types(values)
            self._good.add(types)
        if _ESCAPED_SURROGATE.search(line):
            self._check_text(values)
        return tuple(values)

    def _check_types(self, values: Sequence[Any]) -> None:
        for name, kind, nullable, value in zip(self.columns, self._kinds, self._nullable, values, strict=True):
            if value is None and not nullable:
                raise Problem(f"{name} is null")
            if value is not None and type(value) is not kind:
                raise Problem(f"{name} is a {type(value).__name__}, not a {kind.__name__}")

    def _check_text(self, values: Sequence[Any]) -> None:
        for name, value in zip(self.columns, values, strict=True):
            try:
                _ = value.encode() if isinstance(value, str) else None
            except UnicodeEncodeError:
                raise Problem(f"{name} holds a lone surrogate") from None


def _decoded(value: Any, column: str) -> bytes:
    if type(value) is not str:
        raise Problem(f"{column} is not base64 text")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(f"{column} is not base64 text") from error


def _may_be_null(column: sa.Column[Any]) -> bool:
    # A column that only one profile may leave empty has its value elsewhere there; the logical row always has it.
    return bool(column.nullable) and "nullable_in" not in column.info


def _line_encoder() -> Callable[[Any], str]:
    """The standard library's encoder, made once and not for every line."""
    c_make_encoder = getattr(json.encoder, "c_make_encoder", None)
    if c_make_encoder is None:
        return json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
    chunks = c_make_encoder(None, _refuse, encode_basestring, None, ":", ",", False, False, False)
    return lambda values: "".join(chunks(values, 0))


def _refuse(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} has no JSON form")


_encode: Final = _line_encoder()
_scan: Final = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
