"""Logical rows from physical ones and back, where the ``sqlite`` profile cuts long values into chunk rows.

The formats are those of spec/streams.md §3.6, spec/schema.md §3.7 to §3.9 and spec/attachments.md §4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from flue_sqla.errors import AttachmentIntegrityError, ConversationStreamStoreError
from flue_sqla.models import tables
from flue_sqla.repositories.attachments import CHUNK_BYTES
from flue_sqla.repositories.conversations import spilling

__all__ = ["ChunkLayout", "Fetch", "PhysicalRows", "Row", "chunk_layout"]

Row = tuple[Any, ...]
Fetch = Callable[[sa.Select[Any], dict[str, Any]], list[Row]]
"""Runs a SELECT of chunk rows with the key of their parent."""


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
            AttachmentIntegrityError, ConversationStreamStoreError: the chunks are not what the parent says.
        """
        raise NotImplementedError

    def split(self, columns: Sequence[str], rows: Sequence[Row]) -> list[PhysicalRows]:
        """The physical rows of logical ones, parents first."""
        raise NotImplementedError

    def ambiguous(self, columns: Sequence[str], row: Row) -> str | None:
        """Why a logical row could not be told from a cut one, or None."""
        return None

    def _chunks(self, row: Row, fetch: Fetch) -> list[Row]:
        """Index and piece of every chunk of one parent, in order. The key columns lead in every selection."""
        chunks = self.chunk_table.c
        statement = (
            sa.select(chunks.chunk_index, chunks[self.value])
            .where(*(chunks[name] == sa.bindparam(f"of_{name}") for name in self.key))
            .order_by(chunks.chunk_index)
        )
        return fetch(statement, {f"of_{name}": value for name, value in zip(self.key, row, strict=False)})

    def _text(self, row: Row, count: int, refused: spilling.Refusal, fetch: Fetch) -> str:
        return spilling.joined([(index, count, part) for index, part in self._chunks(row, fetch)], count, refused)


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
        found = self._chunks(row, fetch)
        if not found or [index for index, _ in found] != list(range(row[place])):
            raise AttachmentIntegrityError(row[1], "chunks")
        return _replaced(row, place, b"".join(bytes(piece) for _, piece in found))

    def split(self, columns: Sequence[str], rows: Sequence[Row]) -> list[PhysicalRows]:
        place, *key = _places(columns, self.value, *self.key)
        parents: list[Row] = []
        pieces: list[Row] = []
        for row in rows:
            cut = [row[place][start : start + CHUNK_BYTES] for start in range(0, len(row[place]) or 1, CHUNK_BYTES)]
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
        if not isinstance(stored, str) or not spilling.is_sentinel(stored):
            return row
        refused = _refusal(row[0])
        return _replaced(row, place, self._text(row, spilling.chunk_count(stored, refused), refused, fetch))

    def ambiguous(self, columns: Sequence[str], row: Row) -> str | None:
        if not spilling.is_sentinel(row[list(columns).index(self.value)]):
            return None
        return "its data is no JSON array, and this database would take it for a mark of chunk rows"

    def split(self, columns: Sequence[str], rows: Sequence[Row]) -> list[PhysicalRows]:
        place, *key = _places(columns, self.value, *self.key)
        parents: list[Row] = []
        pieces: list[Row] = []
        for row in rows:
            parts = _cut(row[place])
            parents.append(_replaced(row, place, spilling.sentinel(len(parts))) if parts else row)
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
            whole[place] = self._text(row, count or 0, _refusal(row[0]), fetch)
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
    """The parts of a text that is too long for one row; none when it is not."""
    return spilling.cut(text) if spilling.is_long(text) else []


def _refusal(path: str) -> spilling.Refusal:
    return lambda reason: ConversationStreamStoreError("export", path, reason)
