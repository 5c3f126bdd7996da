"""What a message must look like to be executed (spec/submissions.md §3.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from flue_sqla.errors import InvalidInputError, ValueTooLargeError
from flue_sqla.wire import utf16_length

__all__ = ["MAX_IMAGE_LENGTH", "check_message", "message_problem"]

MAX_IMAGE_LENGTH: Final = 14 * 1024 * 1024
"""Longest base64 text of one image, in UTF-16 units."""

_RESERVED_SIGNALS = frozenset(
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
_TAG_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def check_message(message: Any) -> None:
    """Refuse a message that could never run, before it is stored.

    Raises:
        ValueTooLargeError: an image is longer than 14 MiB of base64 text.
        InvalidInputError: anything else that breaks spec/submissions.md §3.2.
    """
    if _has_oversized_image(message):
        raise ValueTooLargeError(
            f"[flue] Image data exceeds the {MAX_IMAGE_LENGTH} character limit.",
            meta={"limit": MAX_IMAGE_LENGTH},
            remedy="Store the image as an artifact and send its id.",
        )
    problem = message_problem(message)
    if problem is not None:
        raise InvalidInputError(
            f"The message cannot be admitted: {problem}.",
            meta={"problem": problem},
            remedy='Send a text, or {"kind": "user", "body": "text"} or {"kind": "signal", "type": "name", "body": "text"}.',
        )


def message_problem(message: Any) -> str | None:
    """Why ``message`` is not a user or signal message, or None. Unknown keys are fine; ``null`` for an optional key is not."""
    if not isinstance(message, Mapping):
        return "it is not an object"
    if message.get("kind") == "user":
        return _user_problem(message)
    if message.get("kind") == "signal":
        return _signal_problem(message)
    return "its kind is neither user nor signal"


def _user_problem(message: Mapping[str, Any]) -> str | None:
    if not isinstance(message.get("body"), str):
        return "its body is not a string"
    if "attachments" not in message:
        return None
    attachments = message["attachments"]
    if not isinstance(attachments, list):
        return "its attachments are not an array"
    return None if all(map(_is_attachment, attachments)) else "an attachment is malformed"


def _is_attachment(attachment: Any) -> bool:
    return (
        isinstance(attachment, Mapping)
        and attachment.get("type") == "image"
        and isinstance(attachment.get("data"), str)
        and utf16_length(attachment["data"]) <= MAX_IMAGE_LENGTH
        and isinstance(attachment.get("mimeType"), str)
        and ("filename" not in attachment or isinstance(attachment["filename"], str))
    )


def _signal_problem(message: Mapping[str, Any]) -> str | None:
    signal_type = message.get("type")
    if not isinstance(signal_type, str) or not signal_type:
        return "its type is not a non-empty string"
    if signal_type in _RESERVED_SIGNALS:
        return f"its type {signal_type!r} is reserved"
    if not isinstance(message.get("body"), str):
        return "its body is not a string"
    if "attributes" in message and not _is_string_map(message["attributes"]):
        return "its attributes are not an object of strings"
    if "tagName" in message and not (isinstance(message["tagName"], str) and _TAG_NAME.fullmatch(message["tagName"])):
        return "its tagName is not a name"
    return None


def _is_string_map(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) and isinstance(item, str) for key, item in value.items())


def _has_oversized_image(message: Any) -> bool:
    attachments = message.get("attachments") if isinstance(message, Mapping) else None
    return isinstance(attachments, list) and any(
        isinstance(item, Mapping) and isinstance(item.get("data"), str) and utf16_length(item["data"]) > MAX_IMAGE_LENGTH
        for item in attachments
    )
