"""Logical rows from physical ones and back, where the ``sqlite`` profile cuts long values into chunk rows.

The formats are those of spec/streams.md §3.6, spec/schema.md §3.7 to §3.9 and spec/attachments.md §4.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.errors import MalformedRowError
from flue_sqla.models import tables
from flue_sqla.wire import utf16_length

__all__ = ["ChunkLayout", "Fetch", "PhysicalRows", "Row", "chunk_layout"]

Row = tuple[Any, ...]
Fetch = Callable[[sa.Select[Any], dict[str, Any]], list[Row]]
"""Runs a SELECT of chunk rows with the key of their parent."""

_LONGEST_TEXT: Final = 1_048_576
_TEXT_PART: Final = 524_288
_BYTES_PART: Final = 524_288
_SENTINEL: Final = re.compile(r'\{"\$flueChunkCount":([1-9][0-9]{0,8})\}')


@dataclass(frozen=True)
class PhysicalRows:
    """Rows of one physical table, in the order of ``columns``."""

    table: sa.Table
    columns: tuple[str, ...]
    rows: list[Row]


class ChunkLayout:
    """How the ``sqlite`` profile keeps one table: ``value`` is the column of the logical row that is cut."""

    table: sa.Table
    chunk_table: sa.Table
    key: tuple[str, ...]
    value: str

    def selected(self, columns: Sequence[str]) -> tuple[str, ...]:
        """What to select of the parent table for these logical columns."""
        raise NotImplementedError

    def join(self, columns: Sequence[str], row: Row, fetch: Fetch) -> Row:
        """The logical row of a selected one.

        Raises:
            MalformedRowError: the chunks are not what the parent says.
        """
        raise NotImplementedError

    def split(self, columns: Sequence[str], rows: Sequence[Row]) -> list[PhysicalRows]:
        """The physical rows of logical ones, parents first."""
        raise NotImplementedError

    def _chunks(self, row: Row, count: int | None, fetch: Fetch) -> list[Any]:
        """The pieces of one parent in order. The key columns lead in every selection."""
        chunks = self.chunk_table.c
        statement = (
            sa.select(chunks.chunk_index, chunks[self.value])
            .where(*(chunks[name] == sa.bindparam(f"of_{name}") for name in self.key))
            .order_by(chunks.chunk_index)
        )
        found = fetch(statement, {f"of_{name}": value for name, value in zip(self.key, row, strict=False)})
        if not count or [index for index, _ in found] != list(range(count)):
            raise MalformedRowError(
                f"A row of {self.table.name} cannot be put together: its chunk rows do not match the recorded count.",
                meta={"table": self.table.name, "key": [str(value) for value in row[: len(self.key)]], "chunks": len(found)},
                remedy="Repair or remove the row, or restore it from a backup.",
            )
        return [piece for _, piece in found]


class AttachmentLayout(ChunkLayout):
    """Bytes always stand in chunks, and their number in the parent; an empty attachment has one empty chunk."""

    table = tables.attachments
    chunk_table = tables.attachment_chunks
    key = ("stream_path", "attachment_id")
    value = "bytes"

    def selected(self, columns: Sequence[str]) -> tuple[str, ...]:
        return tuple("chunk_count" if name == self.value else name for name in columns)

    def join(self, columns: Sequence[str], row: Row, fetch: Fetch) -> Row:
        place = list(columns).index(self.value)
        content = b"".join(map(bytes, self._chunks(row, row[place], fetch)))
        return _replaced(row, place, content)

    def split(self, columns: Sequence[str], rows: Sequence[Row]) -> list[PhysicalRows]:
        place, *key = _places(columns, self.value, *self.key)
        parents: list[Row] = []
        pieces: list[Row] = []
        for row in rows:
            cut = [row[place][start : start + _BYTES_PART] for start in range(0, len(row[place]) or 1, _BYTES_PART)]
            parents.append(_replaced(row, place, len(cut)))
            pieces += [(*(row[at] for at in key), index, piece) for index, piece in enumerate(cut)]
        chunk_columns = (*self.key, "chunk_index", self.value)
        return [PhysicalRows(self.table, self.selected(columns), parents), PhysicalRows(self.chunk_table, chunk_columns, pieces)]


class BatchLayout(ChunkLayout):
    """A long text leaves a sentinel object in its place; real batch text is an array."""

    table = tables.batches
    chunk_table = tables.batch_chunks
    key = ("path", "seq")
    value = "data"

    def selected(self, columns: Sequence[str]) -> tuple[str, ...]:
        return tuple(columns)

    def join(self, columns: Sequence[str], row: Row, fetch: Fetch) -> Row:
        place = list(columns).index(self.value)
        stored = row[place]
        if not isinstance(stored, str) or not stored.startswith("{"):
            return row
        sentinel = _SENTINEL.fullmatch(stored)
        return _replaced(row, place, "".join(self._chunks(row, int(sentinel[1]) if sentinel else None, fetch)))

    def split(self, columns: Sequence[str], rows: Sequence[Row]) -> list[PhysicalRows]:
        place, *key = _places(columns, self.value, *self.key)
        parents: list[Row] = []
        pieces: list[Row] = []
        for row in rows:
            parts = _cut(row[place])
            parents.append(_replaced(row, place, f'{{"$flueChunkCount":{len(parts)}}}') if parts else row)
            pieces += [(*(row[at] for at in key), index, len(parts), part) for index, part in enumerate(parts)]
        chunk_columns = (*self.key, "chunk_index", "chunk_count", self.value)
        return [PhysicalRows(self.table, tuple(columns), parents), PhysicalRows(self.chunk_table, chunk_columns, pieces)]


class CheckpointLayout(ChunkLayout):
    """A long text leaves NULL in its place, and its number of chunks."""

    table = tables.fold_checkpoints
    chunk_table = tables.fold_checkpoint_chunks
    key = ("path",)
    value = "data"

    def selected(self, columns: Sequence[str]) -> tuple[str, ...]:
        return (*columns, "chunk_count")

    def join(self, columns: Sequence[str], row: Row, fetch: Fetch) -> Row:
        place = list(columns).index(self.value)
        *whole, count = row
        if whole[place] is None:
            whole[place] = "".join(self._chunks(row, count, fetch))
        return tuple(whole)

    def split(self, columns: Sequence[str], rows: Sequence[Row]) -> list[PhysicalRows]:
        place, *key = _places(columns, self.value, *self.key)
        parents: list[Row] = []
        pieces: list[Row] = []
        for row in rows:
            parts = _cut(row[place])
            parents.append((*_replaced(row, place, None), len(parts)) if parts else (*row, None))
            pieces += [(*(row[at] for at in key), index, part) for index, part in enumerate(parts)]
        chunk_columns = (*self.key, "chunk_index", self.value)
        return [PhysicalRows(self.table, self.selected(columns), parents), PhysicalRows(self.chunk_table, chunk_columns, pieces)]


@cache
def chunk_layout(table_name: str) -> ChunkLayout | None:
    """The layout of a table that the ``sqlite`` profile cuts, or None."""
    layouts: dict[str, ChunkLayout] = {layout.table.name: layout for layout in (AttachmentLayout(), BatchLayout(), CheckpointLayout())}
    return layouts.get(table_name)


def _places(columns: Sequence[str], *names: str) -> list[int]:
    return [list(columns).index(name) for name in names]


def _replaced(row: Row, place: int, value: Any) -> Row:
    return (*row[:place], value, *row[place + 1 :])


def _cut(text: str) -> list[str]:
    """The parts of a text that is too long for one row; none when it is not. No part ends within a surrogate pair."""
    if utf16_length(text) <= _LONGEST_TEXT:
        return []
    return list(_parts(text))


def _parts(text: str) -> Iterator[str]:
    encoded = text.encode("utf-16-le")
    start = 0
    while start < len(encoded):
        end = start + 2 * _TEXT_PART
        if end < len(encoded) and 0xD8 <= encoded[end - 1] <= 0xDB:
            end += 2
        yield encoded[start:end].decode("utf-16-le")
        start = end
