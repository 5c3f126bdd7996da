"""Images leave a session entry for chunk rows and come back when it is read (spec/submissions.md §4, §17)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Final

from flue_sqla.errors import MalformedRowError, ValueTooLargeError
from flue_sqla.repositories.submissions.images import Chunk, assemble, cut, is_image
from flue_sqla.repositories.submissions.messages import MAX_IMAGE_LENGTH
from flue_sqla.wire import require_storable, utf16_length

__all__ = ["OWNER_KIND", "extract", "hydrate"]

OWNER_KIND: Final = "session_entry"
"""``owner_kind`` of the chunk rows of a session's entries."""

_MARKER: Final = "__flue_image_chunks__:"
_ROLES: Final = frozenset({"user", "toolResult"})


def extract(entry: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Chunk]]:
    """The entry with a marker in place of each image's data, and the chunks of those images.

    Raises:
        ValueTooLargeError: an image is longer than 14 MiB of base64 text.
        InvalidInputError: an image's text cannot be stored.
    """
    content = _content(entry)
    if content is None or not any(map(is_image, content)):
        return entry, []
    chunks: list[Chunk] = []
    marked: list[Any] = []
    numbers = itertools.count()
    for block in content:
        if is_image(block):
            image_id = str(next(numbers))
            chunks.extend(cut(image_id, _checked(block["data"])))
            block = {**block, "data": _MARKER + image_id}
        marked.append(block)
    return {**entry, "message": {**entry["message"], "content": marked}}, chunks


def hydrate(entry: dict[str, Any], chunks: Iterable[Chunk]) -> dict[str, Any]:
    """The entry with its images back in place.

    Raises:
        MalformedRowError: chunks are missing, or markers and chunks do not match one to one.
    """
    images = assemble(chunks)
    found: list[str] = []
    hydrated: list[Any] = []
    for block in _content(entry) or []:
        if is_image(block) and block["data"].startswith(_MARKER):
            image_id = block["data"].removeprefix(_MARKER)
            found.append(image_id)
            block = {**block, "data": images.get(image_id, "")}
        hydrated.append(block)
    if len(found) != len(set(found)) or set(found) != images.keys():
        raise MalformedRowError("[flue] Persisted image chunks do not match persisted image markers.", meta={"entryId": entry.get("id")})
    if not found:
        return entry
    return {**entry, "message": {**entry["message"], "content": hydrated}}


def _content(entry: Mapping[str, Any]) -> list[Any] | None:
    """The blocks that may hold images to extract: of user and tool messages only."""
    message = entry.get("message")
    if entry.get("type") != "message" or not isinstance(message, Mapping) or message.get("role") not in _ROLES:
        return None
    content = message.get("content")
    return content if isinstance(content, list) else None


def _checked(data: str) -> str:
    if utf16_length(data) > MAX_IMAGE_LENGTH:
        raise ValueTooLargeError(
            f"[flue] Image data exceeds the {MAX_IMAGE_LENGTH} character limit.",
            meta={"limit": MAX_IMAGE_LENGTH},
            remedy="Store the image as an artifact and refer to it.",
        )
    return require_storable(data, "image data")
