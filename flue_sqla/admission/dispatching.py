"""Admitting a dispatch, with the replay of idempotency keys (spec/submissions.md §10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from flue_sqla.admission.conditions import check_condition, refused
from flue_sqla.clock import Clock
from flue_sqla.conversation import submission_attachments
from flue_sqla.errors import InvalidInputError, SubmissionConflictError
from flue_sqla.records.outcome import DispatchReceipt
from flue_sqla.records.submission import DispatchInput, Submission
from flue_sqla.records.unset import UNSET, UnsetType
from flue_sqla.repositories.conversations import Conversations
from flue_sqla.repositories.submissions import Submissions
from flue_sqla.repositories.submissions.messages import check_message
from flue_sqla.wire import canonical_json, format_timestamp, keyed_submission_id, new_id, require_storable, stream_path

__all__ = ["Admitted", "admit"]


class Admitted(NamedTuple):
    """The receipt, and the stored submission (None when only a receipt of it is left)."""

    receipt: DispatchReceipt
    submission: Submission | None


def _check_address(agent: Any, instance_id: Any, message: Any) -> None:
    # What a mistaken caller passes, refused in words: pydantic and dict() have only their own.
    for name, value in (("agent", agent), ("id", instance_id)):
        if not require_storable(value, name):
            raise InvalidInputError(f"{name} is empty.", meta={"field": name}, remedy="Name the agent and the instance.")
    if not isinstance(message, str | Mapping):
        raise InvalidInputError(
            f"A message is a text or an object, found {type(message).__name__}.",
            meta={"field": "message"},
            remedy='Send a string, or an object such as {"kind": "user", "body": "…"}.',
        )
    if isinstance(message, Mapping) and not all(isinstance(key, str) for key in message):
        raise InvalidInputError("The keys of a message are strings.", meta={"field": "message"})


def admit(
    submissions: Submissions,
    conversations: Conversations,
    clock: Clock,
    agent: str,
    *,
    id: str,
    message: str | Mapping[str, Any],
    idempotency_key: str | None = None,
    initial_data: Any = UNSET,
    uid: str | UnsetType | None = UNSET,
) -> Admitted:
    """Accept one dispatch; arguments and errors as :meth:`flue_sqla.Flue.dispatch`."""
    _check_address(agent, id, message)
    check_condition(uid, initial_data)
    conversations.check_path("create", stream_path(agent, id))
    submission_id = new_id("sub") if idempotency_key is None else keyed_submission_id(agent, id, idempotency_key)
    dispatch = DispatchInput(
        submission_id=submission_id,
        agent=agent,
        id=id,
        message={"kind": "user", "body": message} if isinstance(message, str) else dict(message),
        initial_data=initial_data,
        uid=uid,
        accepted_at=format_timestamp(clock.now()),
    )
    # Refused now rather than found out when nobody is there to hear of it: what is no base64 could never be made ready.
    if dispatch.message.get("attachments"):
        check_message(dispatch.message)
        submission_attachments(dispatch.to_payload())
    refusal = refused(conversations, agent, id, uid)
    if refusal is not None:
        if idempotency_key is None or (replayed := submissions.get(submission_id)) is None:
            raise refusal
        # The first try with this key may be what the condition meets now.
        return _adopted(replayed, dispatch)
    admission = submissions.admit_dispatch(dispatch)
    if admission.receipt is not None:
        return Admitted(_receipt(submission_id, admission.receipt.accepted_at, deduplicated=True), None)
    if admission.submission is not None:
        # A key sent twice within one millisecond is an exact replay to the store, and told apart only by how far the first one came.
        moved_on = admission.submission.status != "queued" or admission.submission.canonical_ready_at is not None
        return Admitted(_receipt(submission_id, admission.submission.accepted_at, deduplicated=moved_on), admission.submission)
    return _adopted(submissions.get(submission_id) if idempotency_key is not None else None, dispatch)


def _adopted(stored: Submission | None, dispatch: DispatchInput) -> Admitted:
    """What a keyed retry is answered with: the submission that the first try stored, if it is the same."""
    submission_id = dispatch.submission_id
    if stored is None or _identity(stored.input) != _identity(dispatch.to_payload()):
        raise SubmissionConflictError(
            f"Submission {submission_id} exists and holds something else.",
            meta={"submissionId": submission_id},
            remedy="Use one idempotency key for one message only.",
        )
    return Admitted(_receipt(submission_id, stored.accepted_at, deduplicated=True), stored)


def _receipt(submission_id: str, accepted_at: int, *, deduplicated: bool) -> DispatchReceipt:
    return DispatchReceipt(submission_id=submission_id, accepted_at=accepted_at, deduplicated=deduplicated)


def _identity(payload: Mapping[str, Any]) -> str:
    """What a keyed retry must repeat: everything but the time of acceptance. Compared as JSON values, whatever the order of keys."""
    names = ("kind", "agent", "id", "message", "initialData")
    return canonical_json(_sorted({name: payload[name] for name in names if name in payload}))


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [_sorted(item) for item in value]
    return value
