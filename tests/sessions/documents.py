"""Short ways to say what a session holds."""

from __future__ import annotations

from typing import Any

from flue_sqla.wire import session_key

KEY = session_key("assistant", "agent-1")
TIME = "2026-06-03T00:00:00.000Z"

Json = dict[str, Any]


def message(name: str, parent: str | None, content: Any = "Hello", role: str = "user") -> Json:
    """A message entry."""
    return {"type": "message", "id": name, "parentId": parent, "timestamp": TIME, "message": {"role": role, "content": content}}


def compaction(name: str, parent: str | None, first_kept: str | None, summary: str = "so far") -> Json:
    """A compaction entry."""
    return {
        "type": "compaction",
        "id": name,
        "parentId": parent,
        "timestamp": TIME,
        "summary": summary,
        "firstKeptEntryId": first_kept,
        "tokensBefore": 1_000,
    }


def picture(data: str) -> Json:
    """An image block."""
    return {"type": "image", "data": data, "mimeType": "image/png"}


def chain(count: int, start: int = 0) -> list[Json]:
    """``e0 ← e1 ← …``: messages in a row."""
    return [message(f"e{n}", f"e{n - 1}" if n else None, f"message {n}") for n in range(start, start + count)]


def document(entries: list[Json], **changes: Any) -> Json:
    """A document whose leaf is the last entry."""
    return {
        "version": 8,
        "conversationId": "conv_1",
        "affinityKey": "aff_1",
        "entries": entries,
        "leafId": entries[-1]["id"] if entries else None,
        "childSessions": [],
        "metadata": {"title": "é"},
        "createdAt": TIME,
        "updatedAt": TIME,
        **changes,
    }


def ids(entries: list[Json]) -> list[str]:
    """The ids of entries."""
    return [entry["id"] for entry in entries]
