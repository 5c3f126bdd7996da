"""Settling deliveries that joined, many in one transaction (spec/lifecycle.md §8).

What is written is what each would write by itself: its reservation, its record as a batch of its own, its end. Together they cost one
commit, and no other worker ever sees one of them half settled: a joined delivery has no lease to keep it from being finished elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from flue_sqla.flue import Flue, Unit
from flue_sqla.records.conversation import ProducerClaim, StreamMeta
from flue_sqla.records.submission import Attempt
from flue_sqla.worker.acquisition import StreamMoved

__all__ = ["Child", "NotJoined", "in_groups", "settle_as", "settle_as_new_producer"]

T = TypeVar("T")

_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class Child:
    """A delivery under its host's attempt, and its ``submission_settled`` record."""

    attempt: Attempt
    record: Mapping[str, Any]


class NotJoined(Exception):
    """One of them is not joined into a host that runs under this attempt. Nothing was written."""


def in_groups(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many together as one short transaction should hold."""
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]


def settle_as(flue: Flue, path: str, claim: ProducerClaim, sequence: int, children: Sequence[Child], error_message: str | None) -> str:
    """Settle all of them as the stream's producer, which appends under ``sequence`` and the numbers after it.

    May be repeated after a lost answer.

    Returns:
        The offset of the last record.

    Raises:
        NotJoined, ConversationStreamStoreError: nothing was written.
        SerializationConflict, OutcomeUnknown, DatabaseUnavailableError: as :meth:`Flue.begin`.
    """
    with flue.begin() as unit:
        # The stream before the submissions, as an append locks them.
        meta = unit.conversations.get_meta(path, lock=True)
        if meta is not None and _position(meta) == (claim.producer_id, claim.producer_epoch, sequence + len(children)):
            return meta.next_offset  # all of it arrived, and the answer was lost
        return _settle(unit, path, claim, sequence, children, error_message)


def settle_as_new_producer(
    flue: Flue, path: str, owner_id: str, expected_offset: str, children: Sequence[Child], error_message: str | None
) -> str:
    """As :func:`settle_as` for whoever is not the producer; raises :class:`StreamMoved` unless the head is ``expected_offset``."""
    with flue.begin() as unit:
        claim = unit.conversations.acquire_producer(path, owner_id)
        if claim.offset != expected_offset:
            raise StreamMoved
        return _settle(unit, path, claim, claim.next_producer_sequence, children, error_message)


def _settle(unit: Unit, path: str, claim: ProducerClaim, sequence: int, children: Sequence[Child], error_message: str | None) -> str:
    offset = claim.offset
    for number, child in enumerate(children, sequence):
        record_id = str(child.record["id"])
        if unit.submissions.reserve_settlement(child.attempt, record_id, child.record) is None:
            raise NotJoined
        offset = unit.conversations.append(
            path,
            producer_id=claim.producer_id,
            producer_epoch=claim.producer_epoch,
            incarnation=claim.incarnation,
            producer_sequence=number,
            records=[child.record],
            submission=child.attempt,
        )
        unit.submissions.finalize_settlement(child.attempt, record_id, error_message)
    return offset


def _position(meta: StreamMeta) -> tuple[str | None, int, int]:
    return meta.producer_id, meta.producer_epoch, meta.next_producer_sequence
