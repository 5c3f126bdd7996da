"""Conversation streams in memory (spec/streams.md part A, without the sqlite profile's spill)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flue_sqla.clock import Clock
from flue_sqla.errors import ConversationStreamStoreError
from flue_sqla.records import (
    Attempt,
    FoldCheckpoint,
    ProducerClaim,
    StreamBatch,
    StreamIdentity,
    StreamMeta,
    StreamPage,
)
from flue_sqla.testing.model.authorization import refusal
from flue_sqla.testing.model.database import MemoryDatabase, Row
from flue_sqla.testing.model.listeners import Listeners
from flue_sqla.testing.model.submission_rows import SubmissionRows
from flue_sqla.wire import canonical_json, format_offset, new_id, parse_json, parse_offset, utf16_length

__all__ = ["MemoryConversations"]

STREAMS = "flue_conversation_streams"
BATCHES = "flue_conversation_stream_batches"
CHECKPOINTS = "flue_conversation_fold_checkpoints"
CEILING = 12 * 1024 * 1024


class MemoryConversations(Listeners):
    """The conversation stream store of the reference model."""

    def __init__(self, database: MemoryDatabase, clock: Clock) -> None:
        super().__init__()
        self.database = database
        self._submissions = SubmissionRows(database, clock)

    def create(self, path: str, agent_name: str, instance_id: str, /) -> None:
        identity = canonical_json({"agentName": agent_name, "instanceId": instance_id})
        with self.database.transaction():
            stream = self.database.find(STREAMS, path=path)
            if stream is None:
                self.database.insert(
                    STREAMS,
                    path=path,
                    identity_json=identity,
                    next_offset=0,
                    producer_id=None,
                    producer_epoch=0,
                    next_producer_sequence=0,
                    incarnation=new_id("inc"),
                )
            elif stream["identity_json"] != identity:
                raise ConversationStreamStoreError("create", path, "Stream identity conflicts.")

    def acquire_producer(self, path: str, producer_id: str, /) -> ProducerClaim:
        with self.database.transaction():
            stream = self.database.find(STREAMS, path=path)
            if stream is None:
                raise ConversationStreamStoreError("acquire_producer", path, "Stream does not exist.")
            stream.update(producer_id=producer_id, producer_epoch=stream["producer_epoch"] + 1, next_producer_sequence=0)
            return ProducerClaim(
                producer_id=producer_id,
                producer_epoch=stream["producer_epoch"],
                incarnation=stream["incarnation"],
                next_producer_sequence=0,
                offset=_head(stream),
            )

    def append(
        self,
        path: str,
        /,
        *,
        producer_id: str,
        producer_epoch: int,
        incarnation: str,
        producer_sequence: int,
        records: Sequence[Mapping[str, Any]],
        submission: Attempt | None = None,
    ) -> str:
        if not records:
            raise _rejected(path, "A canonical batch cannot be empty.")
        data = canonical_json([dict(record) for record in records])
        _check_size(path, data, records)
        batch: Row = {
            "path": path,
            "producer_id": producer_id,
            "producer_epoch": producer_epoch,
            "producer_sequence": producer_sequence,
            "data": data,
            "submission_id": submission.submission_id if submission else None,
            "attempt_id": submission.attempt_id if submission else None,
        }
        with self.database.transaction():
            stream = self._owned(path, producer_id, producer_epoch, incarnation)
            retried = self._retried(batch)
            if retried is not None:
                return retried
            if producer_sequence != stream["next_producer_sequence"]:
                raise _rejected(path, "Producer sequence is not the next expected value.")
            reason = refusal(self._submissions, parse_json(stream["identity_json"]), records, submission)
            if reason is not None:
                raise _rejected(path, reason)
            self.database.insert(BATCHES, seq=stream["next_offset"], **batch)
            stream["next_offset"] += 1
            stream["next_producer_sequence"] += 1
            offset = _head(stream)
        self.notify(path)
        return offset

    def _owned(self, path: str, producer_id: str, epoch: int, incarnation: str) -> Row:
        stream = self.database.find(STREAMS, path=path)
        if stream is None:
            raise _rejected(path, "Stream does not exist.")
        if (stream["producer_id"], stream["producer_epoch"], stream["incarnation"]) != (producer_id, epoch, incarnation):
            raise _rejected(path, "Producer ownership is stale.")
        return stream

    def _retried(self, batch: Row) -> str | None:
        """The offset of the same batch stored before, or None; raises when the sequence was used for another one."""
        key = {name: batch[name] for name in ("path", "producer_id", "producer_epoch", "producer_sequence")}
        stored = self.database.find(BATCHES, **key)
        if stored is None:
            return None
        if any(stored[name] != batch[name] for name in ("data", "submission_id", "attempt_id")):
            raise _rejected(batch["path"], "Producer sequence has conflicting content.")
        return format_offset(stored["seq"])

    def read(self, path: str, /, *, offset: str = "-1", limit: int | None = None) -> StreamPage:
        with self.database.transaction():
            stream = self.database.find(STREAMS, path=path)
            head = stream["next_offset"] - 1 if stream else -1
            start = head if offset == "now" else parse_offset(offset)
            if stream is None:
                return StreamPage(batches=[], next_offset="-1", up_to_date=True)
            if start > head:
                raise ConversationStreamStoreError("read", path, "Read offset is beyond the canonical stream head.")
            size = min(limit, 1_000) if limit is not None and limit > 0 else 100
            rows = sorted((row for row in self.database.select(BATCHES, path=path) if row["seq"] > start), key=lambda row: int(row["seq"]))
            page = [StreamBatch(offset=format_offset(row["seq"]), records=parse_json(row["data"])) for row in rows[:size]]
            return StreamPage(batches=page, next_offset=page[-1].offset if page else format_offset(start), up_to_date=len(rows) <= size)

    def get_meta(self, path: str, /) -> StreamMeta | None:
        stream = self.database.find(STREAMS, path=path)
        if stream is None:
            return None
        return StreamMeta(
            identity=StreamIdentity.from_wire(parse_json(stream["identity_json"])),
            incarnation=stream["incarnation"],
            next_offset=_head(stream),
            producer_id=stream["producer_id"],
            producer_epoch=stream["producer_epoch"],
            next_producer_sequence=stream["next_producer_sequence"],
        )

    def put_checkpoint(self, path: str, checkpoint: FoldCheckpoint, /) -> None:
        with self.database.transaction():
            self.database.delete(CHECKPOINTS, path=path)
            self.database.insert(
                CHECKPOINTS,
                path=path,
                head_offset=checkpoint.offset,
                incarnation=checkpoint.incarnation,
                format_version=checkpoint.format_version,
                data=checkpoint.data,
            )

    def get_checkpoint(self, path: str, /, *, at_or_before: str | None = None) -> FoldCheckpoint | None:
        row = self.database.find(CHECKPOINTS, path=path)
        if row is None or (at_or_before is not None and parse_offset(row["head_offset"]) > parse_offset(at_or_before)):
            return None
        return FoldCheckpoint(
            offset=row["head_offset"], incarnation=row["incarnation"], format_version=row["format_version"], data=row["data"]
        )


def _head(stream: Row) -> str:
    return format_offset(stream["next_offset"] - 1)


def _rejected(path: str, reason: str) -> ConversationStreamStoreError:
    return ConversationStreamStoreError("append", path, reason)


def _check_size(path: str, data: str, records: Sequence[Mapping[str, Any]]) -> None:
    size = utf16_length(data)
    if size <= CEILING:
        return
    lengths = [utf16_length(canonical_json(dict(record))) for record in records]
    largest = records[lengths.index(max(lengths))]
    raise _rejected(
        path,
        f"The batch serializes to ~{size / 1048576:.1f}MB, above the 12MB per-append ceiling. The largest record is a"
        f' "{largest.get("type")}" record (id "{largest.get("id")}") at ~{max(lengths) / 1048576:.1f}MB.',
    )
