"""Short ways to say what is admitted."""

from __future__ import annotations

from typing import Any

from flue_sqla import Attempt, DirectInput, DispatchInput, Flue, Submission

ACCEPTED_AT = "2026-06-03T00:00:00.000Z"
FAR_AWAY = 4_000_000_000_000
"""A lease that does not end during a test, epoch ms."""


def user_message(body: str = "Hello", **more: Any) -> dict[str, Any]:
    return {"kind": "user", "body": body, **more}


def direct(submission_id: str, body: str = "Hello", *, agent: str = "assistant", instance: str = "agent-1", **more: Any) -> DirectInput:
    return DirectInput(submission_id=submission_id, agent=agent, id=instance, message=user_message(body, **more), accepted_at=ACCEPTED_AT)


def dispatch(submission_id: str, body: str = "Hello", *, agent: str = "assistant", instance: str = "agent-1", **more: Any) -> DispatchInput:
    return DispatchInput(submission_id=submission_id, agent=agent, id=instance, message=user_message(body, **more), accepted_at=ACCEPTED_AT)


def admit_ready(flue: Flue, submission_id: str, **address: str) -> Submission:
    """Admit a dispatch and mark it ready."""
    assert flue.submissions.admit_dispatch(dispatch(submission_id, **address)).kind == "submission"
    ready = flue.submissions.mark_ready(submission_id)
    assert ready is not None
    return ready


def run(flue: Flue, submission_id: str, attempt_id: str = "attempt-1", **address: str) -> Attempt:
    """Admit, mark ready and claim; the running attempt."""
    admit_ready(flue, submission_id, **address)
    return claim(flue, submission_id, attempt_id)


def claim(flue: Flue, submission_id: str, attempt_id: str = "attempt-1") -> Attempt:
    """Claim a runnable head; the running attempt."""
    claimed = flue.submissions.claim(submission_id, attempt_id=attempt_id, owner_id="test-owner", lease_expires_at=FAR_AWAY)
    assert claimed is not None
    return Attempt(submission_id=submission_id, attempt_id=attempt_id)


def status(flue: Flue, submission_id: str) -> str:
    """The stored status."""
    submission = flue.submissions.get(submission_id)
    assert submission is not None
    return submission.status
