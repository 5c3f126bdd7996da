"""Session documents in memory (spec/submissions.md §17)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flue_sqla.clock import Clock
from flue_sqla.errors import MalformedRowError
from flue_sqla.testing.model.database import MemoryDatabase, Row
from flue_sqla.testing.model.images import extract_images, hydrate_images
from flue_sqla.wire import canonical_json, parse_json

__all__ = ["SessionDocuments"]

SESSIONS = "flue_sessions"
ENTRIES = "flue_session_entries"
IMAGES = "flue_image_chunks"
MARKER = "__flue_image_chunks__:"
OWNER_KIND = "session_entry"


class SessionDocuments:
    """Whole documents; every save rewrites all of one."""

    def __init__(self, database: MemoryDatabase, clock: Clock) -> None:
        self.database = database
        self.clock = clock

    def save(self, key: str, data: Mapping[str, Any], /) -> None:
        rest = {name: value for name, value in data.items() if name != "entries"}
        with self.database.transaction():
            self.delete(key)
            self.database.insert(SESSIONS, id=key, data=canonical_json(rest))
            for position, entry in enumerate(data["entries"]):
                self._save_entry(key, position, entry)

    def _save_entry(self, key: str, position: int, entry: dict[str, Any]) -> None:
        stored = entry
        content = _image_content(entry)
        if content is not None:
            blocks, chunks = extract_images(content, MARKER)
            stored = {**entry, "message": {**entry["message"], "content": blocks}}
            for chunk in chunks:
                self.database.insert(
                    IMAGES,
                    owner_kind=OWNER_KIND,
                    owner_id=key,
                    owner_part=entry["id"],
                    image_id=chunk.item_id,
                    chunk_index=chunk.index,
                    chunk_count=chunk.count,
                    data=chunk.data,
                )
        self.database.insert(ENTRIES, session_id=key, entry_id=entry["id"], position=position, data=canonical_json(stored))

    def load(self, key: str, /) -> dict[str, Any] | None:
        with self.database.transaction():
            row = self.database.find(SESSIONS, id=key)
            if row is None:
                return None
            rest = parse_json(row["data"])
            if not isinstance(rest, dict):
                raise MalformedRowError("[flue] Persisted session row is malformed.")
            rows = sorted(self.database.select(ENTRIES, session_id=key), key=lambda entry: int(entry["position"]))
            return {**rest, "entries": [self._load_entry(key, entry) for entry in rows]}

    def _load_entry(self, key: str, row: Row) -> dict[str, Any]:
        entry = parse_json(row["data"])
        if not isinstance(entry, dict) or entry.get("id") != row["entry_id"]:
            raise MalformedRowError("[flue] Persisted session entry row is malformed.")
        content = _image_content(entry)
        if content is None:
            return entry
        chunks = self.database.select(IMAGES, owner_kind=OWNER_KIND, owner_id=key, owner_part=row["entry_id"])
        return {**entry, "message": {**entry["message"], "content": hydrate_images(content, MARKER, chunks, "image_id")}}

    def delete(self, key: str, /) -> None:
        with self.database.transaction():
            self.database.delete(IMAGES, owner_kind=OWNER_KIND, owner_id=key)
            self.database.delete(ENTRIES, session_id=key)
            self.database.delete(SESSIONS, id=key)


def _image_content(entry: Mapping[str, Any]) -> list[Any] | None:
    """The content blocks of an entry whose images are stored apart."""
    message = entry.get("message")
    if entry.get("type") != "message" or not isinstance(message, dict) or message.get("role") not in ("user", "toolResult"):
        return None
    content = message.get("content")
    return content if isinstance(content, list) else None
