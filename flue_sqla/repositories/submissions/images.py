"""Images leave the payload for chunk rows and come back when it is read (spec/submissions.md §4)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flue_sqla.errors import MalformedRowError

__all__ = ["Chunk", "assemble", "cut", "extract_images", "hydrate_images", "is_image"]

CHUNK_LENGTH: Final = 256 * 1024
"""UTF-16 units in one chunk; base64 text has one unit per character."""

MARKER: Final = "__flue_submission_chunks__:"


@dataclass(frozen=True, slots=True, order=True)
class Chunk:
    """One row of ``flue_submission_chunks`` without its submission."""

    item_id: str
    index: int
    count: int
    data: str


def extract_images(payload: dict[str, Any]) -> tuple[dict[str, Any], list[Chunk]]:
    """The payload with a marker in place of each image's data, and the chunks of those images."""
    attachments = _attachments(payload)
    if not attachments:
        return payload, []
    chunks: list[Chunk] = []
    marked: list[Any] = []
    numbers = itertools.count()
    for attachment in attachments:
        if is_image(attachment):
            item_id = str(next(numbers))
            chunks.extend(cut(item_id, attachment["data"]))
            attachment = {**attachment, "data": MARKER + item_id}
        marked.append(attachment)
    return {**payload, "message": {**payload["message"], "attachments": marked}}, chunks


def hydrate_images(payload: dict[str, Any], chunks: Iterable[Chunk]) -> dict[str, Any]:
    """The payload with its images back in place.

    Raises:
        MalformedRowError: chunks are missing, or markers and chunks do not match one to one.
    """
    images = assemble(chunks)
    found: list[str] = []
    hydrated: list[Any] = []
    for attachment in _attachments(payload):
        if is_image(attachment) and attachment["data"].startswith(MARKER):
            item_id = attachment["data"].removeprefix(MARKER)
            found.append(item_id)
            attachment = {**attachment, "data": images.get(item_id, "")}
        hydrated.append(attachment)
    if len(found) != len(set(found)) or set(found) != images.keys():
        raise MalformedRowError("[flue] Persisted image chunks do not match persisted image markers.")
    if not found:
        return payload
    return {**payload, "message": {**payload["message"], "attachments": hydrated}}


def _attachments(payload: Mapping[str, Any]) -> list[Any]:
    """Those of a user message; whatever a signal has under that name stays where it is."""
    message = payload.get("message")
    attachments = message.get("attachments") if isinstance(message, Mapping) and message.get("kind") == "user" else None
    return attachments if isinstance(attachments, list) else []


def is_image(attachment: Any) -> bool:
    return isinstance(attachment, Mapping) and attachment.get("type") == "image" and isinstance(attachment.get("data"), str)


def cut(item_id: str, data: str) -> list[Chunk]:
    if not data.isascii():
        return _cut_wide(item_id, data)
    count = max(1, -(-len(data) // CHUNK_LENGTH))
    return [Chunk(item_id, index, count, data[index * CHUNK_LENGTH : (index + 1) * CHUNK_LENGTH]) for index in range(count)]


def _cut_wide(item_id: str, data: str) -> list[Chunk]:
    # Not base64, but legal: count UTF-16 units, and keep a surrogate pair together, since half of one has no UTF-8 form.
    parts: list[str] = []
    part: list[str] = []
    units = 0
    for character in data:
        width = 2 if character > "\uffff" else 1
        if units + width > CHUNK_LENGTH:
            parts.append("".join(part))
            part, units = [], 0
        part.append(character)
        units += width
    parts.append("".join(part))
    return [Chunk(item_id, index, len(parts), text) for index, text in enumerate(parts)]


def assemble(chunks: Iterable[Chunk]) -> dict[str, str]:
    groups: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        if not (isinstance(chunk.index, int) and isinstance(chunk.count, int) and isinstance(chunk.data, str)):
            raise MalformedRowError("[flue] Persisted submission chunk row is malformed.")
        groups.setdefault(chunk.item_id, []).append(chunk)
    images: dict[str, str] = {}
    for item_id, group in groups.items():
        group.sort(key=lambda chunk: chunk.index)
        count = group[0].count
        if count < 1 or len(group) != count or any(chunk.index != i or chunk.count != count for i, chunk in enumerate(group)):
            raise MalformedRowError("[flue] Persisted image chunks are missing or malformed.")
        images[item_id] = "".join(chunk.data for chunk in group)
    return images
