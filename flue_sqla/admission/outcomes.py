"""What became of a submission: the row says that it is over, the stream how (spec/lifecycle.md §8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

from flue_sqla.errors import ReceiptRetainedError, SubmissionMissingError
from flue_sqla.records.outcome import Outcome, SettledRow
from flue_sqla.records.unset import UNSET
from flue_sqla.repositories.conversations import Conversations
from flue_sqla.repositories.submissions import Submissions
from flue_sqla.wire import format_offset, input_record_id, parse_json, parse_offset, parse_session_key, stream_path

__all__ = ["outcome_of"]

_WINDOW: Final = 50


def outcome_of(submissions: Submissions, conversations: Conversations, submission_id: str) -> Outcome | None:
    """The outcome, or None while there is none.

    Raises:
        SubmissionMissingError: there is no such submission.
        ReceiptRetainedError: it is over, and its row was pruned.
    """
    row = submissions.settled_row(submission_id)
    if row is None:
        if submissions.has_receipt(submission_id):
            raise ReceiptRetainedError(
                f"Submission {submission_id} ran, and its row has been pruned.", meta={"submissionId": submission_id}
            )
        raise SubmissionMissingError(f"There is no submission {submission_id!r}.", meta={"submissionId": submission_id})
    if row.status != "settled" or row.settled_at is None:
        return None
    outcome = _outcome(row)
    return Outcome(
        submission_id=submission_id,
        outcome=outcome,
        result=_result(submissions, conversations, row) if outcome == "completed" else UNSET,
        error=row.error,
        settled_at=row.settled_at,
    )


def _outcome(row: SettledRow) -> Literal["completed", "failed", "aborted"]:
    recorded = (row.record or {}).get("outcome")
    if recorded in ("completed", "failed", "aborted"):
        return recorded  # type: ignore[no-any-return]
    if row.error is None:
        return "completed"
    # Settled in the queue or with its host: the row keeps the message only.
    return "aborted" if row.abort_requested_at is not None else "failed"


def _result(submissions: Submissions, conversations: Conversations, row: SettledRow) -> Any:
    address = parse_session_key(row.session_key)
    if address is None:
        return UNSET
    answering = row
    if row.joined_into is not None:
        host = submissions.settled_row(row.joined_into)
        answering = row if host is None else host
    text = _answer(conversations, stream_path(address.agent, address.instance_id), answering)
    if text is None:
        return UNSET
    try:
        return parse_json(text)
    except ValueError:
        return text


def _answer(conversations: Conversations, path: str, row: SettledRow) -> str | None:
    """The text of the submission's last final message."""
    message_id: str | None = None
    pieces: list[str] = []
    for record in _newest_first(conversations, path):
        if record.get("submissionId") != row.submission_id:
            continue
        kind = record.get("type")
        if message_id is None:
            if kind == "assistant_message_completed" and record.get("stopReason") in ("stop", "length"):
                message_id = record.get("messageId")
        elif record.get("messageId") == message_id:
            if kind == "assistant_text_delta" and isinstance(record.get("delta"), str):
                pieces.append(record["delta"])
            elif kind == "assistant_message_started":
                return "".join(reversed(pieces))
        if record.get("id") == input_record_id(row.kind, row.submission_id):
            return None
    return None


def _newest_first(conversations: Conversations, path: str) -> Iterator[dict[str, Any]]:
    """The stream from its head backwards: what was settled just now is near the end, and the stream may be long."""
    meta = conversations.get_meta(path)
    end = -1 if meta is None else parse_offset(meta.next_offset)
    while end >= 0:
        start = max(-1, end - _WINDOW)
        page = conversations.read(path, offset="-1" if start < 0 else format_offset(start), limit=end - start)
        for batch in reversed(page.batches):
            yield from (record for record in reversed(batch.records) if isinstance(record, dict))
        end = start
