"""Image extraction and hydration (spec/submissions.md §4), for submissions and for session entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flue_sqla.errors import InvalidInputError, MalformedRowError
from flue_sqla.testing.model.database import Row
from flue_sqla.wire import utf16_length

__all__ = ["Chunk", "extract_images", "hydrate_images"]

CHUNK_UNITS = 256 * 1024
MAX_UNITS = 14 * 1024 * 1024
UNFIT = "[flue] Persisted image chunks do not match persisted image markers."
BROKEN = "[flue] Persisted image chunks are missing or malformed."


@dataclass(frozen=True)
class Chunk:
    """One slice of one image."""

    item_id: str
    index: int
    count: int
    data: str


def is_image(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "image" and isinstance(block.get("data"), str)


def extract_images(blocks: Sequence[Any], marker: str) -> tuple[list[Any], list[Chunk]]:
    """The blocks with every image's data replaced by ``marker`` and its number, and the chunks of the data."""
    rewritten: list[Any] = []
    chunks: list[Chunk] = []
    number = 0
    for block in blocks:
        if is_image(block):
            item = str(number)
            number += 1
            parts = _slices(block["data"])
            chunks += [Chunk(item, index, len(parts), part) for index, part in enumerate(parts)]
            block = {**block, "data": marker + item}
        rewritten.append(block)
    return rewritten, chunks


def _slices(text: str) -> list[str]:
    if utf16_length(text) > MAX_UNITS:
        raise InvalidInputError(f"[flue] Image data exceeds the {MAX_UNITS} character limit.")
    units = text.encode("utf-16-le", "surrogatepass")
    size = 2 * CHUNK_UNITS
    return [units[at : at + size].decode("utf-16-le", "surrogatepass") for at in range(0, len(units), size)] or [""]


def hydrate_images(blocks: Sequence[Any], marker: str, rows: Sequence[Row], item_column: str) -> list[Any]:
    """The blocks with their data put back; raises when markers and chunk rows do not match exactly."""
    images = _assemble(rows, item_column)
    hydrated: list[Any] = []
    used: list[str] = []
    for block in blocks:
        if is_image(block) and block["data"].startswith(marker):
            item = block["data"][len(marker) :]
            used.append(item)
            block = {**block, "data": images.get(item)}
        hydrated.append(block)
    if len(used) != len(set(used)) or set(used) != set(images):
        raise MalformedRowError(UNFIT)
    return hydrated


def _assemble(rows: Sequence[Row], item_column: str) -> dict[str, str]:
    images: dict[str, list[Row]] = {}
    for row in rows:
        images.setdefault(row[item_column], []).append(row)
    for group in images.values():
        group.sort(key=lambda row: int(row["chunk_index"]))
        count = group[0]["chunk_count"]
        whole = count >= 1 and len(group) == count and all(row["chunk_count"] == count for row in group)
        if not whole or [row["chunk_index"] for row in group] != list(range(count)):
            raise MalformedRowError(BROKEN)
    # Joined as UTF-16 units: a chunk boundary may lie inside a surrogate pair.
    return {
        item: b"".join(row["data"].encode("utf-16-le", "surrogatepass") for row in group).decode("utf-16-le", "surrogatepass")
        for item, group in images.items()
    }
