"""Which tables a snapshot holds, in which order and shape, and which it leaves out and why.

A row in a snapshot is *logical*: what the three profiles store differently (attachments in chunks, spilled batches and checkpoints) looks
the same, so a snapshot of one database goes into any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import sqlalchemy as sa

from flue_sqla.models import tables
from flue_sqla.repositories.artifacts import is_mark
from flue_sqla.repositories.offloading import is_whole

__all__ = ["EXCLUDED", "PARTS", "TABLES", "Reference", "SnapshotTable", "table_named"]

PARTS: Final[Mapping[str, str]] = {
    "flue_attachment_chunks": "part of the rows of flue_attachments (column bytes)",
    "flue_conversation_stream_batch_chunks": "part of the rows of flue_conversation_stream_batches (column data)",
    "flue_conversation_fold_checkpoint_chunks": "part of the rows of flue_conversation_fold_checkpoints (column data)",
}
"""Tables whose rows stand inside the rows of another one."""

EXCLUDED: Final[Mapping[str, str]] = {
    "flue_meta": "the stamp of the database itself; the header of the snapshot carries the versions, and a target keeps its own stamp",
    "flue_agent_session_locks": "holds no data: MySQL locks its rows, and makes each again when it is needed",
}
"""Tables that a snapshot leaves out, each with its reason."""


@dataclass(frozen=True)
class Reference:
    """``columns`` of a table must be the ``target_columns`` of a row of ``target`` that is in the snapshot too."""

    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]


@dataclass(frozen=True)
class SnapshotTable:
    """One table as a snapshot sees it.

    ``key`` orders the rows and tells them apart; ``unique`` are the other keys that no two rows may share (a row with a NULL in one does
    not count); ``layout_columns`` say how a profile cut the row into pieces and are no part of it; rows that fit
    ``bookkeeping`` are no data; of the others an export takes only those that are ``whole``.
    """

    table: sa.Table
    key: tuple[str, ...]
    unique: tuple[tuple[str, ...], ...] = ()
    references: tuple[Reference, ...] = ()
    layout_columns: frozenset[str] = frozenset()
    tenant_column: str | None = None
    bookkeeping: Callable[[sa.Table], sa.ColumnElement[bool]] | None = None
    whole: Callable[[sa.Table], sa.ColumnElement[bool]] | None = None
    columns: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = tuple(column.name for column in self.table.columns if column.name not in self.layout_columns)
        object.__setattr__(self, "columns", names)

    @property
    def name(self) -> str:
        return self.table.name

    @cached_property
    def key_positions(self) -> tuple[int, ...]:
        return self.positions(self.key)

    def positions(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """Where these columns stand in a row."""
        return tuple(map(self.columns.index, names))


_SUBMISSION: Final = ("submission_id",)
_ATTACHMENT: Final = ("stream_path", "attachment_id")
_STREAM: Final = Reference(("path",), "flue_conversation_streams", ("path",))

TABLES: Final[tuple[SnapshotTable, ...]] = (
    # Ordered by sequence and not by id: the order of admission is what a merge has to keep.
    SnapshotTable(tables.submissions, key=("sequence",), unique=(_SUBMISSION,)),
    SnapshotTable(
        tables.submission_chunks,
        key=("submission_id", "item_id", "chunk_index"),
        references=(Reference(_SUBMISSION, "flue_agent_submissions", _SUBMISSION),),
    ),
    SnapshotTable(tables.streams, key=("path",)),
    SnapshotTable(
        tables.batches,
        key=("path", "seq"),
        unique=(("path", "producer_id", "producer_epoch", "producer_sequence"),),
        references=(_STREAM,),
    ),
    # Flue writes checkpoints and attachments without asking whether their stream exists (spec/streams.md §3.8, spec/attachments.md §6).
    SnapshotTable(tables.fold_checkpoints, key=("path",), layout_columns=frozenset({"chunk_count"})),
    SnapshotTable(tables.attachments, key=_ATTACHMENT, layout_columns=frozenset({"chunk_count"})),
    SnapshotTable(tables.sessions, key=("id",)),
    SnapshotTable(
        tables.session_entries,
        key=("session_id", "entry_id"),
        references=(Reference(("session_id",), "flue_sessions", ("id",)),),
    ),
    SnapshotTable(tables.image_chunks, key=("owner_kind", "owner_id", "owner_part", "image_id", "chunk_index")),
    SnapshotTable(tables.turn_journals, key=_SUBMISSION),
    SnapshotTable(tables.stream_chunks, key=("stream_key", "segment_index")),
    SnapshotTable(tables.session_deletions, key=("session_key",)),
    SnapshotTable(tables.dispatch_receipts, key=("dispatch_id",)),
    SnapshotTable(tables.attempt_markers, key=("submission_id", "attempt_id")),
    SnapshotTable(tables.runs, key=("run_id",)),
    SnapshotTable(tables.event_streams, key=("path",)),
    SnapshotTable(
        tables.event_entries,
        key=("path", "seq"),
        unique=(("path", "event_key"),),
        references=(Reference(("path",), "flue_event_streams", ("path",)),),
    ),
    # A sweep's marks belong to the object store that was swept, and no artifact is behind them.
    SnapshotTable(tables.artifacts, key=("id",), unique=(("storage_key",),), tenant_column="tenant", bookkeeping=is_mark),
    SnapshotTable(
        tables.offloaded_attachments,
        key=_ATTACHMENT,
        unique=(("artifact_id",),),
        references=(
            Reference(_ATTACHMENT, "flue_attachments", _ATTACHMENT),
            Reference(("artifact_id",), "flue_artifacts", ("id",)),
        ),
        # Entries that are left of attachments which a Flue server removed.
        whole=is_whole,
    ),
)
"""Every table of a snapshot, in the order of the file: what is referred to comes first."""

_BY_NAME: Final = {table.name: table for table in TABLES}


def table_named(name: str) -> SnapshotTable | None:
    """The table of this name, or None when a snapshot never holds it."""
    return _BY_NAME.get(name)
