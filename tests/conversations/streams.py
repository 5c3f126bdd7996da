"""Short ways to own a stream and append to it."""

from __future__ import annotations

from typing import Any

from flue_sqla import Attempt, Flue, ProducerClaim
from flue_sqla.flue import Repositories
from flue_sqla.wire import stream_path

AGENT, INSTANCE = "assistant", "agent-1"
PATH = stream_path(AGENT, INSTANCE)
FIRST = "0000000000000000_0000000000000000"

STALE = "Producer ownership is stale."
CONFLICT = "Producer sequence has conflicting content."
OUT_OF_SEQUENCE = "Producer sequence is not the next expected value."
MISMATCH = "Record ownership does not match the authorized submission attempt."
NOT_OWNER = "Submission attempt no longer owns work for this agent instance."


def owned_stream(flue: Flue, *, agent: str = AGENT, instance: str = INSTANCE, producer: str = "producer-1") -> ProducerClaim:
    """Create the stream of an instance and acquire it."""
    path = stream_path(agent, instance)
    flue.conversations.create(path, agent, instance)
    return flue.conversations.acquire_producer(path, producer)


def append(
    on: Repositories,
    claim: ProducerClaim,
    *records: dict[str, Any],
    sequence: int = 0,
    submission: Attempt | None = None,
    path: str = PATH,
) -> str:
    return on.conversations.append(
        path,
        producer_id=claim.producer_id,
        producer_epoch=claim.producer_epoch,
        incarnation=claim.incarnation,
        producer_sequence=sequence,
        records=records or [{"id": f"record_{sequence}", "type": "state_write"}],
        submission=submission,
    )


def of(attempt: Attempt, number: int = 0, **more: Any) -> dict[str, Any]:
    """A record that belongs to ``attempt``."""
    return {
        "id": f"record_{number}",
        "type": "user_message",
        "submissionId": attempt.submission_id,
        "attemptId": attempt.attempt_id,
        **more,
    }
