"""The stream that the conversation contract works with (spec/conformance.md, fixtures)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from flue_sqla.errors import ConversationStreamStoreError
from flue_sqla.records import Attempt, ProducerClaim
from flue_sqla.testing.contracts.examples import ACCEPTED_AT
from flue_sqla.testing.stores import Stores

__all__ = ["AGENT", "INSTANCE", "PATH", "append", "created", "message", "rejected", "stored_batches"]

AGENT = "echo"
INSTANCE = "contract"
PATH = "agents/echo/contract"


def message(number: int = 1, text: str = "Hello", **owner: str) -> dict[str, Any]:
    """A ``user_message`` record; pass ``submissionId`` and ``attemptId`` to make it an owned one."""
    return {
        "v": 1,
        "id": f"record_{number}",
        "type": "user_message",
        "conversationId": "conv_contract",
        "harness": "default",
        "session": "default",
        "timestamp": ACCEPTED_AT,
        **owner,
        "messageId": f"entry_{number}",
        "parentId": None,
        "content": [{"type": "text", "text": text}],
    }


def created(stores: Stores, producer_id: str = "producer-1") -> ProducerClaim:
    """The stream exists and ``producer_id`` owns it."""
    stores.conversations.create(PATH, AGENT, INSTANCE)
    return stores.conversations.acquire_producer(PATH, producer_id)


def append(
    stores: Stores,
    claim: ProducerClaim,
    records: Sequence[dict[str, Any]],
    *,
    sequence: int = 0,
    submission: Attempt | None = None,
    path: str = PATH,
) -> str:
    return stores.conversations.append(
        path,
        producer_id=claim.producer_id,
        producer_epoch=claim.producer_epoch,
        incarnation=claim.incarnation,
        producer_sequence=sequence,
        records=records,
        submission=submission,
    )


@contextmanager
def rejected(reason: str = "", *, operation: str = "append", path: str = PATH) -> Iterator[None]:
    """The operation is refused with this reason (or any, if empty) and with the contract's code and meta."""
    with pytest.raises(ConversationStreamStoreError) as caught:
        yield
    error = caught.value
    assert error.code == "conversation_stream_store_failure"
    assert "The canonical conversation stream operation could not be completed." in str(error)
    assert set(error.meta) == {"operation", "path", "reason"}
    assert (error.meta["operation"], error.meta["path"]) == (operation, path)
    assert reason in error.meta["reason"]


def stored_batches(stores: Stores, path: str = PATH) -> list[list[Any]]:
    return [batch.records for batch in stores.conversations.read(path).batches]
