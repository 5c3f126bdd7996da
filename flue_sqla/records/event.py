"""Event streams: events, pages, the head (spec/streams.md §10)."""

from __future__ import annotations

from typing import Any, ClassVar

from flue_sqla.records.base import Record

__all__ = ["EventPage", "EventStreamMeta", "StoredEvent"]


class StoredEvent(Record):
    """One event, any JSON value, and where it lies in its stream."""

    wire_nulls: ClassVar[frozenset[str]] = frozenset({"data"})

    data: Any
    offset: str


class EventPage(Record):
    """The events after an offset; ``next_offset`` is the offset to read on from. ``closed`` says that the stream takes no new event."""

    events: list[StoredEvent]
    next_offset: str
    up_to_date: bool
    closed: bool


class EventStreamMeta(Record):
    """A stream's head: the offset of its last event, ``"-1"`` without any."""

    next_offset: str
    closed: bool
