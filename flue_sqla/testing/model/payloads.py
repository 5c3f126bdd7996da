"""Submission payloads: preparation, comparison and the cross-check with their row (spec/submissions.md §3, §4, §5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from flue_sqla.errors import InvalidInputError, MalformedRowError
from flue_sqla.records import DirectInput, DispatchInput, Submission
from flue_sqla.testing.model.database import Row
from flue_sqla.testing.model.images import MAX_UNITS, UNFIT, Chunk, extract_images, hydrate_images
from flue_sqla.wire import canonical_json, parse_json, parse_timestamp, session_key, utf16_length

__all__ = ["STATUSES", "UNSETTLED", "Prepared", "hydrate_payload", "parse_submission", "prepare"]

MARKER = "__flue_submission_chunks__:"
KINDS = ("dispatch", "direct")
UNSETTLED = ("queued", "running", "terminalizing", "joining", "joined")
STATUSES = (*UNSETTLED, "settled")
RESERVED_TYPES = frozenset(
    {
        "resources",
        "instructions",
        "environment",
        "stream_interrupted",
        "stream_continued",
        "submission_aborted",
        "submission_interrupted",
        "compaction",
        "memory",
    }
)
TAG_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class Prepared(NamedTuple):
    """What an admission is about to insert, and what it compares with."""

    payload: str
    chunks: list[Chunk]
    accepted_at: int
    session_key: str
    whole: str
    """The canonical text of the input before image extraction."""


def prepare(input: DispatchInput | DirectInput) -> Prepared:
    document = input.to_payload()
    stored: dict[str, Any] = document
    chunks: list[Chunk] = []
    attachments = document["message"].get("attachments")
    if document["message"].get("kind") == "user" and isinstance(attachments, list):
        rewritten, chunks = extract_images(attachments, MARKER)
        stored = {**document, "message": {**document["message"], "attachments": rewritten}}
    try:
        accepted_at = parse_timestamp(input.accepted_at)
    except ValueError:
        raise InvalidInputError(f"[flue] Internal {input.kind} admission received an invalid acceptedAt timestamp.") from None
    return Prepared(canonical_json(stored), chunks, accepted_at, session_key(input.agent, input.id), canonical_json(document))


def hydrate_payload(text: str, chunks: Sequence[Row]) -> Any:
    """The parsed payload with its images; raises the JSON parser's error or a malformed-chunks error."""
    document = parse_json(text)
    message = document.get("message") if isinstance(document, dict) else None
    if not isinstance(message, dict) or message.get("kind") != "user" or not isinstance(message.get("attachments"), list):
        if chunks:
            raise MalformedRowError(UNFIT)
        return document
    hydrated = hydrate_images(message["attachments"], MARKER, chunks, "item_id")
    return {**document, "message": {**message, "attachments": hydrated}}


def parse_submission(row: Row, chunks: Sequence[Row]) -> Submission:
    """The submission of a row, or :class:`MalformedRowError` (spec/submissions.md §5.1)."""
    _check_row(row)
    payload = hydrate_payload(row["payload"], chunks)
    if not _is_payload_of(row, payload):
        raise MalformedRowError("[flue] Persisted agent submission payload is malformed.")
    names = (name for name in Submission.model_fields if name != "input")
    return Submission(input=payload, **{name: row[name] for name in names})


def _check_row(row: Row) -> None:
    status = row["status"]
    sound = row["kind"] in KINDS and status in STATUSES
    if status == "queued":
        sound = sound and all(row[name] is None for name in ("attempt_id", "input_applied_at", "started_at", "joined_into"))
    elif status in ("joining", "joined"):
        sound = sound and row["joined_into"] is not None
    elif status in ("running", "terminalizing"):
        sound = sound and row["attempt_id"] is not None and row["started_at"] is not None
    if not sound:
        raise MalformedRowError("[flue] Persisted agent submission row is malformed.")


def _is_payload_of(row: Row, payload: Any) -> bool:
    if not isinstance(payload, dict) or not _is_message(payload.get("message")):
        return False
    texts = [payload.get(name) for name in ("agent", "id", "acceptedAt")]
    if not all(isinstance(text, str) for text in texts):
        return False
    try:
        accepted_at = parse_timestamp(payload["acceptedAt"])
    except ValueError:
        return False
    return bool(
        payload.get("kind") == row["kind"]
        and payload.get("submissionId") == row["submission_id"]
        and session_key(payload["agent"], payload["id"]) == row["session_key"]
        and accepted_at == row["accepted_at"]
    )


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("body"), str):
        return False
    if message.get("kind") == "user":
        attachments = message.get("attachments", [])
        return isinstance(attachments, list) and all(_is_attachment(item) for item in attachments)
    if message.get("kind") != "signal":
        return False
    type_, attributes, tag = message.get("type"), message.get("attributes", {}), message.get("tagName", "tag")
    return (
        isinstance(type_, str)
        and type_ not in RESERVED_TYPES | {""}
        and isinstance(attributes, dict)
        and all(isinstance(value, str) for value in attributes.values())
        and isinstance(tag, str)
        and TAG_NAME.fullmatch(tag) is not None
    )


def _is_attachment(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and item.get("type") == "image"
        and isinstance(item.get("data"), str)
        and utf16_length(item["data"]) <= MAX_UNITS
        and isinstance(item.get("mimeType"), str)
        and isinstance(item.get("filename", ""), str)
    )
