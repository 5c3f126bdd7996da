"""The inputs that the contracts work with, and short verbs for the states that they start from (spec/conformance.md)."""

from __future__ import annotations

import base64
from typing import Any

from flue_sqla.records import UNSET, Attempt, DirectInput, DispatchInput, Submission
from flue_sqla.testing.stores import Stores

__all__ = [
    "ACCEPTED_AT",
    "LEASE_MS",
    "OWNER",
    "SESSION",
    "TIMEOUT_MS",
    "admitted",
    "attempt",
    "canonical_session",
    "claimed",
    "direct",
    "dispatch",
    "image",
    "ready",
    "running",
    "settlement",
    "signal",
    "submission",
    "user",
]

ACCEPTED_AT = "2026-06-03T00:00:00.000Z"
OWNER = "test-owner"
LEASE_MS = 30_000
TIMEOUT_MS = 3_600_000
SESSION = 'agent-session:["assistant","agent-1","default","default"]'


def canonical_session(agent: str, instance_id: str) -> str:
    """The session key of two plain names; written out here so that the library's own function is checked by it."""
    return f'agent-session:["{agent}","{instance_id}","default","default"]'


def signal(body: str = "Hello", **extra: Any) -> dict[str, Any]:
    return {"kind": "signal", "type": "test.event", "body": body, **extra}


def user(body: str = "Hello", *attachments: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"kind": "user", "body": body}
    if attachments:
        message["attachments"] = list(attachments)
    return message


def image(data: str | bytes = b"\x00\x01\x02\xff", mime_type: str = "image/png") -> dict[str, Any]:
    """An image block; bytes are base64-encoded, text is taken as the base64 itself."""
    text = base64.b64encode(data).decode() if isinstance(data, bytes) else data
    return {"type": "image", "data": text, "mimeType": mime_type}


def dispatch(
    submission_id: str = "dispatch-1",
    message: dict[str, Any] | None = None,
    *,
    agent: str = "assistant",
    id: str = "agent-1",
    accepted_at: str = ACCEPTED_AT,
    initial_data: Any = UNSET,
) -> DispatchInput:
    return DispatchInput(
        submission_id=submission_id,
        agent=agent,
        id=id,
        message=signal() if message is None else message,
        initial_data=initial_data,
        accepted_at=accepted_at,
    )


def direct(
    submission_id: str = "direct-1",
    message: dict[str, Any] | None = None,
    *,
    agent: str = "assistant",
    id: str = "agent-1",
    accepted_at: str = ACCEPTED_AT,
    initial_data: Any = UNSET,
) -> DirectInput:
    return DirectInput(
        submission_id=submission_id,
        agent=agent,
        id=id,
        message=user() if message is None else message,
        initial_data=initial_data,
        accepted_at=accepted_at,
    )


def admitted(stores: Stores, input: DispatchInput | DirectInput) -> Submission:
    """Admits an input of either kind and expects a submission."""
    if isinstance(input, DirectInput):
        return stores.submissions.admit_direct(input)
    admission = stores.submissions.admit_dispatch(input)
    assert admission.kind == "submission"
    assert admission.submission is not None
    return admission.submission


def ready(stores: Stores, input: DispatchInput | DirectInput) -> Submission:
    """Admitted and marked canonical-ready."""
    admitted(stores, input)
    marked = stores.submissions.mark_ready(input.submission_id)
    assert marked is not None
    return marked


def attempt(submission_id: str = "dispatch-1", attempt_id: str = "attempt-1") -> Attempt:
    return Attempt(submission_id=submission_id, attempt_id=attempt_id)


def claimed(stores: Stores, submission_id: str, attempt_id: str = "attempt-1", *, lease_expires_at: int | None = None) -> Submission | None:
    """What claiming with the suite's owner returns; the lease is 30 s from now unless given."""
    return stores.submissions.claim(
        submission_id,
        attempt_id=attempt_id,
        owner_id=OWNER,
        lease_expires_at=stores.clock.now() + LEASE_MS if lease_expires_at is None else lease_expires_at,
    )


def running(
    stores: Stores, input: DispatchInput | DirectInput, attempt_id: str = "attempt-1", *, lease_expires_at: int | None = None
) -> Attempt:
    """Admitted, ready and claimed; returns the attempt."""
    ready(stores, input)
    assert claimed(stores, input.submission_id, attempt_id, lease_expires_at=lease_expires_at) is not None
    return attempt(input.submission_id, attempt_id)


def submission(stores: Stores, submission_id: str = "dispatch-1") -> Submission:
    """The stored submission, which must exist."""
    stored = stores.submissions.get(submission_id)
    assert stored is not None, submission_id
    return stored


def settlement(
    owner: Attempt, outcome: str = "completed", *, kind: str = "dispatch", error: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A settlement record with the runtime's id and key order (spec/streams.md §6.3)."""
    record: dict[str, Any] = {
        "v": 1,
        "id": f"record_{kind}-submission:{owner.submission_id}:settled",
        "type": "submission_settled",
        "conversationId": "conv_contract",
        "harness": "default",
        "session": "default",
        "timestamp": ACCEPTED_AT,
        "submissionId": owner.submission_id,
        "attemptId": owner.attempt_id,
        "outcome": outcome,
    }
    if error is not None:
        record["error"] = error
    return record
