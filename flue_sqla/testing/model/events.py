"""Event streams in memory (spec/streams.md §10)."""

from __future__ import annotations

from typing import Any

from flue_sqla.errors import RequestConflictError, StreamClosedError, StreamMissingError
from flue_sqla.records import EventPage, EventStreamMeta, StoredEvent
from flue_sqla.testing.model.database import MemoryDatabase, Row
from flue_sqla.testing.model.listeners import Listeners
from flue_sqla.wire import canonical_json, format_offset, parse_json, parse_offset

__all__ = ["MemoryEvents"]

STREAMS = "flue_event_streams"
ENTRIES = "flue_event_stream_entries"


class MemoryEvents(Listeners):
    """The event stream store of the reference model."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__()
        self.database = database

    def create(self, path: str, /) -> None:
        with self.database.transaction():
            if self.database.find(STREAMS, path=path) is None:
                self.database.insert(STREAMS, path=path, next_offset=0, closed=False)

    def append(self, path: str, event: Any, /) -> str:
        with self.database.transaction():
            offset = self._append(path, canonical_json(event), None)
        self.notify(path)
        return offset

    def append_once(self, path: str, key: str, event: Any, /) -> str:
        text = canonical_json(event)
        with self.database.transaction():
            stored = self.database.find(ENTRIES, path=path, event_key=key)
            if stored is not None:
                if stored["data"] != text:
                    raise RequestConflictError(f'[flue] Event key "{key}" of stream "{path}" has a conflicting payload.')
                return format_offset(stored["seq"])
            offset = self._append(path, text, key)
        self.notify(path)
        return offset

    def _append(self, path: str, text: str, key: str | None) -> str:
        stream = self.database.find(STREAMS, path=path)
        if stream is None:
            raise StreamMissingError(f'[flue] Event stream "{path}" does not exist.')
        if stream["closed"]:
            raise StreamClosedError(f'[flue] Event stream "{path}" is closed.')
        seq: int = stream["next_offset"]
        stream["next_offset"] = seq + 1
        self.database.insert(ENTRIES, path=path, seq=seq, data=text, event_key=key)
        return format_offset(seq)

    def read(self, path: str, /, *, offset: str = "-1", limit: int | None = None) -> EventPage:
        with self.database.transaction():
            stream: Row | None = self.database.find(STREAMS, path=path)
            head = stream["next_offset"] - 1 if stream else -1
            start = head if offset == "now" else parse_offset(offset)
            if stream is None:
                return EventPage(events=[], next_offset="-1", up_to_date=True, closed=False)
            size = min(limit, 1_000) if limit is not None and limit > 0 else 100
            rows = sorted((row for row in self.database.select(ENTRIES, path=path) if row["seq"] > start), key=lambda row: int(row["seq"]))
            page = [StoredEvent(data=parse_json(row["data"]), offset=format_offset(row["seq"])) for row in rows[:size]]
            return EventPage(
                events=page,
                next_offset=page[-1].offset if page else format_offset(start),
                up_to_date=len(rows) <= size,
                closed=bool(stream["closed"]),
            )

    def close(self, path: str, /) -> None:
        with self.database.transaction():
            stream = self.database.find(STREAMS, path=path)
            if stream is None:
                return
            stream["closed"] = True
        self.notify(path)

    def get_meta(self, path: str, /) -> EventStreamMeta | None:
        stream = self.database.find(STREAMS, path=path)
        if stream is None:
            return None
        return EventStreamMeta(next_offset=format_offset(stream["next_offset"] - 1), closed=bool(stream["closed"]))
