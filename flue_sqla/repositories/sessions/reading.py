"""Rows of a session, put together again; and which of them a model is fed (spec/submissions.md §17)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from flue_sqla.errors import MalformedRowError
from flue_sqla.repositories.sessions.document import COMPACTION, Head, joined, parse_head
from flue_sqla.repositories.sessions.images import hydrate
from flue_sqla.repositories.submissions.images import Chunk
from flue_sqla.wire import parse_json

__all__ = ["Rows", "context", "load", "rows_of"]

Json = dict[str, Any]


@dataclass
class Rows:
    """One read of a session: its head, if it is there, and entries in the order of their positions."""

    head: Head | None
    entries: list[Json]


def rows_of(key: str, result: Iterable[sa.Row[Any]]) -> Rows:
    """What the rows of a reading statement say.

    Raises:
        MalformedRowError: the head or an entry is not what was stored, or images are missing.
    """
    head: Head | None = None
    # Keyed, since a walk through a circle of parents comes by the same entry and its chunks more than once.
    found: dict[str, tuple[int, str, dict[tuple[str, int], Chunk]]] = {}
    for row in result:
        part, position, entry_id, data, image_id, index, count, chunk = tuple(row)
        if part == 0:
            head = parse_head(key, data)
            continue
        _, _, chunks = found.setdefault(entry_id, (position, data, {}))
        if image_id is not None:
            chunks[image_id, index] = Chunk(image_id, index, count, chunk)
    ordered = sorted(found.items(), key=lambda item: item[1][0])
    return Rows(head, [_entry(key, entry_id, data, list(chunks.values())) for entry_id, (_, data, chunks) in ordered])


def _entry(key: str, entry_id: str, data: str, chunks: list[Chunk]) -> Json:
    try:
        entry = parse_json(data)
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or entry.get("id") != entry_id:
        raise MalformedRowError("[flue] Persisted session entry row is malformed.", meta={"sessionId": key, "entryId": entry_id})
    return hydrate(entry, chunks)


def load(rows: Rows) -> Json | None:
    """The whole document, or None without a session row."""
    return None if rows.head is None else joined(rows.head, rows.entries)


def context(rows: Rows, *, complete: bool) -> list[Json] | None:
    """What a model is fed: the last compaction on the way from the leaf to the root, the entries it kept, the entries after it.

    None when a part of the way was not read and ``complete`` says that the rest may be in the database.
    """
    if rows.head is None or rows.head.leaf is None:
        return []
    by_id = {entry["id"]: entry for entry in rows.entries}
    later: list[Json] = []
    kept: list[Json] = []
    compaction: Mapping[str, Any] | None = None
    at: Any = rows.head.leaf
    while isinstance(at, str):
        entry = by_id.pop(at, None)  # popped, so that a circle of parents ends
        if entry is None:
            if not complete:
                return None
            break
        if compaction is not None:
            kept.append(entry)
            if at == compaction.get("firstKeptEntryId"):
                return [dict(compaction), *reversed(kept), *reversed(later)]
        elif entry.get("type") == COMPACTION:
            compaction = entry
            if entry.get("firstKeptEntryId") in (None, at):
                break
        else:
            later.append(entry)
        at = entry.get("parentId")
    # A compaction that kept nothing on this path stands alone.
    return [*([dict(compaction)] if compaction is not None else []), *reversed(later)]
