"""The verdict on a whole stream: would a Flue server read it, and if not, which record stops it (spec/streams.md §7)?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flue_sqla.conversation.graph import Rules
from flue_sqla.conversation.state import ConversationState
from flue_sqla.errors import ConversationRecordInvariantError

ALL_RULES: tuple[Rules, ...] = ("2.0", "2.1")


@dataclass(frozen=True, slots=True)
class BrokenRecord:
    """The first record that a reader refuses, and the batch it is in."""

    offset: str
    rules: Rules
    record_id: Any
    record_type: Any
    reason: str


@dataclass(frozen=True, slots=True)
class StreamVerdict:
    """What the fold of a stream came to. The counts are of what was read; reading ends at the record that breaks it."""

    batches: int
    records: int
    conversations: int
    submissions: int
    settled: int
    readable_by: tuple[Rules, ...]
    """Whose rules every record keeps."""
    broken: BrokenRecord | None
    """Set when no one's."""


def verify_stream(batches: Iterable[tuple[str, Sequence[Any]]], *, rules: Sequence[Rules] = ALL_RULES) -> StreamVerdict:
    """Fold (offset, records) pairs by each of ``rules`` at once.

    The two releases contradict each other on calls in a final message, so a stream is sound when it keeps the rules of one of them; it
    is broken at the record that the last of them refuses.
    """
    states = [ConversationState(rules=one) for one in rules]
    furthest, broken, batch_count, record_count = states[-1], None, 0, 0
    for offset, records in batches:
        batch_count += 1
        for record in records:
            states, refused = _apply(states, offset, record)
            if not states:
                broken = refused
                break
            record_count += 1
            furthest = states[-1]
        if broken is not None:
            break
    return StreamVerdict(
        batches=batch_count,
        records=record_count,
        conversations=len(furthest.conversations),
        submissions=len(furthest.submissions),
        settled=sum(trace.settled is not None for trace in furthest.submissions.values()),
        readable_by=tuple(state.rules for state in states),
        broken=broken,
    )


def _apply(states: list[ConversationState], offset: str, record: Any) -> tuple[list[ConversationState], BrokenRecord | None]:
    """The states that took the record, and the last refusal."""
    kept: list[ConversationState] = []
    refused = None
    for state in states:
        try:
            state.apply(record)
        except ConversationRecordInvariantError as error:
            refused = BrokenRecord(offset, state.rules, error.meta["recordId"], error.meta["recordType"], error.meta["reason"])
        else:
            kept.append(state)
    return kept, refused
