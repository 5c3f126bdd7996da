"""Turn journals, stream segments and attempt markers (spec/submissions.md §14 to §16)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from flue_sqla.records.base import Record
from flue_sqla.records.unset import UNSET

__all__ = ["AttemptMarker", "Phase", "StreamSegment", "TurnJournal"]

Phase = Literal["before_provider", "provider_started", "tool_request_recorded", "committed"]


class TurnJournal(Record):
    """How far the current turn of a submission got. ``tool_request`` is any JSON, ``UNSET`` when there is none. Times are epoch ms."""

    wire_nulls: ClassVar[frozenset[str]] = frozenset({"tool_request"})

    submission_id: str
    session_key: str
    kind: str
    attempt_id: str
    operation_id: str
    turn_id: str
    phase: Phase
    revision: int
    created_at: int
    updated_at: int
    committed: bool
    checkpoint_leaf_id: str | None = None
    tool_request: Any = UNSET
    stream_key: str | None = None
    stream_consumed_at: int | None = None
    committed_leaf_id: str | None = None


class StreamSegment(Record):
    """A buffered piece of a model's answer: a JSON array of compact provider events, as text."""

    segment_index: int
    body: str


class AttemptMarker(Record):
    """An attempt that was under way when its process ended; ``created_at`` in epoch ms."""

    submission_id: str
    attempt_id: str
    created_at: int
