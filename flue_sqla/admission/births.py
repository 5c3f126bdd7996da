"""The birth record of an instance's default conversation: whether there is an instance, and which incarnation it is."""

from __future__ import annotations

from typing import Any

from flue_sqla.repositories.conversations import Conversations

__all__ = ["root_birth"]


def root_birth(conversations: Conversations, path: str) -> dict[str, Any] | None:
    """The record, None before the birth. It stands in the first batch unless others wrote there before."""
    offset, limit = "-1", 1
    while True:
        page = conversations.read(path, offset=offset, limit=limit)
        for batch in page.batches:
            for record in batch.records:
                if isinstance(record, dict) and record.get("type") == "conversation_created" and _is_default(record):
                    return record
        if page.up_to_date or not page.batches:
            return None
        offset, limit = page.next_offset, 100


def _is_default(record: dict[str, Any]) -> bool:
    return record.get("kind") == "root" and (record.get("harness"), record.get("session")) == ("default", "default")
