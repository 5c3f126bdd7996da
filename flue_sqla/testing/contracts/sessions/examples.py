"""The session documents that the contract works with (spec/submissions.md §17)."""

from __future__ import annotations

from typing import Any

__all__ = ["KEY", "compaction", "document", "entry", "picture"]

KEY = 'agent-session:["agent-1","default","default"]'


def entry(number: int, content: Any = "Hello", *, role: str = "user") -> dict[str, Any]:
    return {
        "type": "message",
        "id": f"entry_{number}",
        "parentId": f"entry_{number - 1}" if number else None,
        "timestamp": "2026-06-03T00:00:00.000Z",
        "message": {"role": role, "content": content},
    }


def compaction(number: int, first_kept: str | None) -> dict[str, Any]:
    return {
        "type": "compaction",
        "id": f"entry_{number}",
        "parentId": f"entry_{number - 1}",
        "timestamp": "2026-06-03T00:00:00.000Z",
        "summary": "so far",
        "firstKeptEntryId": first_kept,
        "tokensBefore": 1_000,
    }


def document(*entries: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "version": 8,
        "conversationId": "conv_1",
        "affinityKey": "aff_1",
        "entries": list(entries),
        "leafId": entries[-1]["id"] if entries else None,
        "childSessions": [],
        "metadata": {"title": "é", "2": None},
        "createdAt": "2026-06-03T00:00:00.000Z",
        "updatedAt": "2026-06-03T00:00:00.000Z",
        **changes,
    }


def picture(data: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": "Look"}, {"type": "image", "data": data, "mimeType": "image/png"}]
