"""Fold checkpoints: one unfenced slot per path, a cache and never the truth (spec/streams.md §3.8)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from flue_sqla.dialects import DialectImpl
from flue_sqla.errors import ConversationStreamStoreError
from flue_sqla.models.tables import fold_checkpoint_chunks, fold_checkpoints
from flue_sqla.records.conversation import FoldCheckpoint
from flue_sqla.repositories.conversations.spilling import cut, is_long, joined
from flue_sqla.repositories.conversations.statements import PATH
from flue_sqla.repositories.per_dialect import PerDialect
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.wire import parse_offset, require_integer, require_storable

__all__ = ["get_checkpoint", "put_checkpoint"]

_COLUMNS = ("head_offset", "incarnation", "format_version", "data")
_INLINE = sa.select(*(fold_checkpoints.c[name] for name in _COLUMNS)).where(fold_checkpoints.c.path == PATH)
_SPILLABLE = _INLINE.add_columns(fold_checkpoints.c.chunk_count)
_UPSERT = PerDialect(
    lambda dialect: dialect.upsert(fold_checkpoints, ("path",), (*_COLUMNS, "chunk_count") if dialect.chunked_values else _COLUMNS)
)
_PARTS = (
    sa.select(fold_checkpoint_chunks.c.chunk_index, fold_checkpoint_chunks.c.data)
    .where(fold_checkpoint_chunks.c.path == PATH)
    .order_by(fold_checkpoint_chunks.c.chunk_index)
)
_INSERT_PART = sa.insert(fold_checkpoint_chunks)
_DELETE_PARTS = sa.delete(fold_checkpoint_chunks).where(fold_checkpoint_chunks.c.path == PATH)


def put_checkpoint(scope: Scope, path: str, checkpoint: FoldCheckpoint) -> None:
    """Replace the slot of ``path``."""
    parse_offset(checkpoint.offset)
    require_integer(checkpoint.format_version, "format_version")
    for field in ("incarnation", "data"):
        require_storable(getattr(checkpoint, field), field)
    scope.dialect.check_key("head_offset", checkpoint.offset)
    scope.dialect.check_key("incarnation", checkpoint.incarnation)
    row: dict[str, Any] = {
        "path": path,
        "head_offset": checkpoint.offset,
        "incarnation": checkpoint.incarnation,
        "format_version": checkpoint.format_version,
        "data": checkpoint.data,
    }
    if scope.dialect.chunked_values:
        scope.write(lambda executor: _put_spilled(executor, scope.dialect, row))
    else:
        scope.single(lambda executor: _put(executor, scope.dialect, row))


def _put(executor: Executor, dialect: DialectImpl, row: dict[str, Any]) -> None:
    dialect.check_packet(executor, row["data"])
    executor.execute(_UPSERT(dialect), row)


def _put_spilled(executor: Executor, dialect: DialectImpl, row: dict[str, Any]) -> None:
    path, data = row["path"], row["data"]
    parts = cut(data) if is_long(data) else []
    executor.execute(_DELETE_PARTS, {"of_path": path})
    stored = {**row, "data": None if parts else data, "chunk_count": len(parts) or None}
    executor.execute(_UPSERT(dialect), stored)
    if parts:
        executor.execute(_INSERT_PART, [{"path": path, "chunk_index": index, "data": part} for index, part in enumerate(parts)])


def get_checkpoint(scope: Scope, path: str, at_or_before: str | None) -> FoldCheckpoint | None:
    """The stored checkpoint; None if there is none or it lies after ``at_or_before``."""
    latest = None if at_or_before is None else parse_offset(at_or_before)
    run = scope.snapshot if scope.dialect.chunked_values else scope.read
    found = run(lambda executor: _get(executor, scope.dialect, path))
    return found if found is None or latest is None or parse_offset(found.offset) <= latest else None


def _get(executor: Executor, dialect: DialectImpl, path: str) -> FoldCheckpoint | None:
    statement = _SPILLABLE if dialect.chunked_values else _INLINE
    row = executor.execute(statement, {"of_path": path}).first()
    if row is None:
        return None
    data = row.data if row.data is not None else _joined(executor, path, row.chunk_count)
    return FoldCheckpoint(offset=row.head_offset, incarnation=row.incarnation, format_version=row.format_version, data=data)


def _joined(executor: Executor, path: str, count: int | None) -> str:
    def refused(reason: str) -> ConversationStreamStoreError:
        return ConversationStreamStoreError("get_fold_checkpoint", path, reason)

    if count is None:
        raise refused("Checkpoint row has neither data nor chunks.")
    rows = executor.execute(_PARTS, {"of_path": path}).all()
    return joined([(row.chunk_index, count, row.data) for row in rows], count, refused, subject="Checkpoint")
