"""Reading batches (spec/streams.md §3.5)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.dialects import DialectImpl
from flue_sqla.errors import ConversationStreamStoreError
from flue_sqla.models.tables import batch_chunks
from flue_sqla.records.conversation import StreamBatch, StreamPage
from flue_sqla.repositories.conversations import statements
from flue_sqla.repositories.conversations.spilling import Refusal, chunk_count, is_sentinel, joined
from flue_sqla.repositories.paging import page_limit
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.wire import format_offset, parse_json, parse_offset

__all__ = ["read", "stored_text"]

_EMPTY: Final = StreamPage(batches=[], next_offset="-1", up_to_date=True)

_CHUNKS = (
    sa.select(batch_chunks.c.chunk_index, batch_chunks.c.chunk_count, batch_chunks.c.data)
    .where(batch_chunks.c.path == statements.PATH, batch_chunks.c.seq == sa.bindparam("of_seq"))
    .order_by(batch_chunks.c.chunk_index)
)


def read(scope: Scope, path: str, offset: str, limit: float | None) -> StreamPage:
    """One page of the stream after ``offset``."""
    if offset == "now":
        head = scope.read(lambda executor: executor.execute(statements.HEAD, {"of_path": path}).scalar())
        return _EMPTY if head is None else StreamPage(batches=[], next_offset=format_offset(head - 1), up_to_date=True)
    start, count = parse_offset(offset), page_limit(limit)
    # Chunk rows are read by statements of their own; batches never change, so it is only for pruning that these see one state.
    run = scope.snapshot if scope.dialect.chunked_values else scope.read
    return run(lambda executor: _page(executor, scope.dialect, path, start, count))


def _page(executor: Executor, dialect: DialectImpl, path: str, start: int, count: int) -> StreamPage:
    rows = executor.execute(statements.PAGE, {"of_path": path, "after": start, "fetch": count + 1}).all()
    if not rows:
        return _EMPTY
    if start >= rows[0].next_offset:
        raise ConversationStreamStoreError("read", path, "Read offset is beyond the canonical stream head.")
    found = [row for row in rows if row.seq is not None]
    batches = list(_batches(executor, dialect, path, found[:count]))
    next_offset = batches[-1].offset if batches else format_offset(start)
    return StreamPage(batches=batches, next_offset=next_offset, up_to_date=len(found) <= count)


def _batches(executor: Executor, dialect: DialectImpl, path: str, rows: Iterable[sa.Row[Any]]) -> Iterable[StreamBatch]:
    def refused(reason: str) -> ConversationStreamStoreError:
        return ConversationStreamStoreError("read", path, reason)

    for row in rows:
        text = stored_text(executor, dialect, path, row.seq, row.data, refused)
        try:
            records = parse_json(text)
        except ValueError:
            raise refused(f"Stored batch {format_offset(row.seq)} is not JSON.") from None
        if not isinstance(records, list):
            raise refused(f"Stored batch {format_offset(row.seq)} is not an array.")
        yield StreamBatch(offset=format_offset(row.seq), records=records)


def stored_text(executor: Executor, dialect: DialectImpl, path: str, seq: int, data: str, refused: Refusal) -> str:
    """The text of a batch, put together from its chunk rows where it was spilled."""
    if not (dialect.chunked_values and is_sentinel(data)):
        return data
    count = chunk_count(data, refused)
    rows = executor.execute(_CHUNKS, {"of_path": path, "of_seq": seq}).all()
    return joined([(row.chunk_index, row.chunk_count, row.data) for row in rows], count, refused)
