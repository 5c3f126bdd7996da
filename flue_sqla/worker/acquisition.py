"""Becoming the producer of a stream without ever fencing somebody who has the right to write.

Acquiring fences whoever held the producer, so it happens only together with proof of ownership: one transaction acquires, checks that
nobody appended since the stream was folded, and appends under the attempt's authorization or moves the attempt's row. When any of that
fails, the whole transaction is rolled back, the acquisition included. No decision rests on a read of an earlier transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flue_sqla.errors import ConversationStreamStoreError
from flue_sqla.flue import Flue
from flue_sqla.records.conversation import ProducerClaim
from flue_sqla.records.submission import Attempt, Durability

__all__ = ["Acquired", "NotOurs", "StreamMoved", "acquire"]


@dataclass(frozen=True, slots=True)
class Acquired:
    """The claim, the producer's next sequence, and the stream's head."""

    claim: ProducerClaim
    next_sequence: int
    offset: str


class StreamMoved(Exception):
    """Somebody appended after the stream was folded; fold on and try again. Nothing was written and nobody fenced."""


class NotOurs(Exception):
    """The attempt does not own its submission any more. Nothing was written and nobody fenced."""


def acquire(
    flue: Flue,
    path: str,
    owner_id: str,
    attempt: Attempt,
    *,
    expected_offset: str,
    records: Sequence[Mapping[str, Any]] = (),
    durability: Durability | None = None,
) -> Acquired:
    """Acquire the producer and append ``records`` for ``attempt``, all or nothing.

    Args:
        expected_offset: the head up to which the caller has folded the stream.
        durability: the budget to install with the attempt's first use; it also proves the ownership. Without it ``records`` must not be
            empty: the authorization of their append is the proof.

    Raises:
        StreamMoved, NotOurs: nothing was written.
        SerializationConflict, OutcomeUnknown, DatabaseUnavailableError: as :meth:`Flue.begin`; fold on and try again.
    """
    if not records and durability is None:
        raise ValueError("an acquisition needs a proof of ownership")
    with flue.begin() as unit:
        try:
            claim = unit.conversations.acquire_producer(path, owner_id)
        except ConversationStreamStoreError:
            raise StreamMoved from None
        if claim.offset != expected_offset:
            raise StreamMoved
        sequence, offset = claim.next_producer_sequence, claim.offset
        if records:
            try:
                offset = unit.conversations.append(
                    path,
                    producer_id=claim.producer_id,
                    producer_epoch=claim.producer_epoch,
                    incarnation=claim.incarnation,
                    producer_sequence=sequence,
                    records=records,
                    submission=attempt,
                )
            except ConversationStreamStoreError as refused:
                raise NotOurs from refused
            sequence += 1
        if durability is not None and not unit.submissions.mark_input_applied(attempt, durability):
            raise NotOurs
    return Acquired(claim, sequence, offset)
