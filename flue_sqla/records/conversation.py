"""Conversation streams: identity, producer claims, batches, pages, checkpoints (spec/streams.md §2)."""

from __future__ import annotations

from typing import Any, ClassVar

from flue_sqla.records.base import Record

__all__ = ["FoldCheckpoint", "ProducerClaim", "StreamBatch", "StreamIdentity", "StreamMeta", "StreamPage"]


class StreamIdentity(Record):
    """Whose conversation a stream is."""

    agent_name: str
    instance_id: str


class ProducerClaim(Record):
    """The right to append, until someone else acquires. ``offset`` is the head, ``"-1"`` on an empty stream."""

    producer_id: str
    producer_epoch: int
    incarnation: str
    next_producer_sequence: int
    offset: str


class StreamBatch(Record):
    """One indivisible batch of records."""

    offset: str
    records: list[Any]


class StreamPage(Record):
    """The batches after an offset; ``next_offset`` is the offset to read on from."""

    batches: list[StreamBatch]
    next_offset: str
    up_to_date: bool


class StreamMeta(Record):
    """A stream's head and its current producer."""

    wire_nulls: ClassVar[frozenset[str]] = frozenset({"producer_id"})

    identity: StreamIdentity
    incarnation: str
    next_offset: str
    producer_id: str | None
    producer_epoch: int
    next_producer_sequence: int


class FoldCheckpoint(Record):
    """A cache of a reader's reduced state at ``offset``; ``data`` is opaque text of that reader's format version."""

    offset: str
    incarnation: str
    format_version: int
    data: str
