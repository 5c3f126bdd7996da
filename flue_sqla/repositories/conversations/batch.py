"""One batch on its way into a stream: its text, what it claims, and the checks of an append in their order (spec/streams.md §3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.errors import ConversationStreamStoreError, InvalidInputError
from flue_sqla.records.submission import Attempt
from flue_sqla.wire import canonical_json, format_offset, parse_json, parse_session_key, require_integer, require_storable, utf16_length

__all__ = ["Batch"]

_LIMIT: Final = 12 * 1024 * 1024
"""Longest batch text, in UTF-16 units."""

Row = sa.Row[Any]


@dataclass(frozen=True)
class Batch:
    """What one call of ``append`` asks for. Building it makes every check that needs no database."""

    path: str
    producer_id: str
    producer_epoch: int
    incarnation: str
    producer_sequence: int
    records: Sequence[Mapping[str, Any]]
    submission: Attempt | None
    data: str

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]], submission: Attempt | None, **claim: Any) -> Batch:
        """Serialize and check.

        Raises:
            ConversationStreamStoreError: no records, or more than 12 MiB of them (UTF-16 units).
            InvalidInputError: something that no database or no JSON can hold.
        """
        if not records:
            raise ConversationStreamStoreError("append", claim["path"], "A canonical batch cannot be empty.")
        for record in records:
            if not isinstance(record, Mapping):
                raise InvalidInputError(f"A record is a JSON object, found {type(record).__name__}.", meta={"field": "records"})
        for name in ("producer_epoch", "producer_sequence"):
            require_integer(claim[name], name)
        for name in ("producer_id", "incarnation"):
            require_storable(claim[name], name)
        if submission is not None:
            require_storable(submission.submission_id, "submission_id")
            require_storable(submission.attempt_id, "attempt_id")
        data = canonical_json(list(records))
        size = utf16_length(data)
        if size > _LIMIT:
            raise ConversationStreamStoreError("append", claim["path"], _too_large(records, size))
        return cls(records=records, submission=submission, data=data, **claim)

    # -- what kind of batch it is -----------------------------------------------------------------------------------------------

    @cached_property
    def owned(self) -> list[Mapping[str, Any]]:
        """The records that belong to some submission."""
        return [record for record in self.records if "submissionId" in record or "attemptId" in record]

    @cached_property
    def foreign(self) -> list[Mapping[str, Any]]:
        """The owned records that carry another identity than the authorization; all of them without one."""
        if self.submission is None:
            return self.owned
        ours = self.submission
        return [
            record
            for record in self.owned
            if record.get("submissionId") != ours.submission_id or record.get("attemptId") != ours.attempt_id
        ]

    @property
    def deliveries(self) -> list[str] | None:
        """The submissions that must have joined the authorized one; None when a foreign record cannot be a joined one's."""
        ids: list[str] = []
        for record in self.foreign:
            delivery = record.get("submissionId")
            if self.submission is None or record.get("attemptId") != self.submission.attempt_id or not isinstance(delivery, str):
                return None
            ids.append(delivery)
        return list(dict.fromkeys(ids))

    @cached_property
    def settlement(self) -> tuple[str, str] | None:
        """Id and text of the record, when the batch is one owned ``submission_settled`` record and nothing else."""
        if len(self.records) != 1 or not self.owned:
            return None
        (record,) = self.records
        record_id = record.get("id")
        if record.get("type") != "submission_settled" or not isinstance(record_id, str) or "\0" in record_id:
            return None
        return record_id, self.data[1:-1]

    # -- checks 3 to 7 ----------------------------------------------------------------------------------------------------------

    def check_producer(self, stream: Row | None) -> Row:
        """Checks 3 and 4: the stream exists, and this producer owns it."""
        if stream is None:
            raise self.refused("Stream does not exist.")
        if (stream.producer_id, stream.producer_epoch, stream.incarnation) != (self.producer_id, self.producer_epoch, self.incarnation):
            raise self.refused("Producer ownership is stale.")
        return stream

    def check_earlier(self, seq: int, data: str, submission_id: str | None, attempt_id: str | None) -> str:
        """Check 5: a batch under the same producer sequence is this very batch; its offset."""
        ours = self.submission
        owner = (None, None) if ours is None else (ours.submission_id, ours.attempt_id)
        if data != self.data or (submission_id, attempt_id) != owner:
            raise self.refused("Producer sequence has conflicting content.")
        return format_offset(seq)

    def check_sequence(self, stream: Row) -> None:
        """Check 6: the producer's next number."""
        if stream.next_producer_sequence != self.producer_sequence:
            raise self.refused("Producer sequence is not the next expected value.")

    def check_authorization(self, stream: Row, work: Mapping[str, Row]) -> None:
        """Check 7 (spec/streams.md §3.4); ``work`` has the rows of the authorized submission and of the deliveries, by id."""
        if self.submission is None:
            if self.owned:
                raise self.refused("Submission-owned records require attempt authorization.")
            return
        host = self.submission
        deliveries = self.deliveries
        if deliveries is None or not all(_joined(work.get(delivery), host.submission_id) for delivery in deliveries):
            raise self.refused("Record ownership does not match the authorized submission attempt.")
        row = work.get(host.submission_id)
        if row is None or row.attempt_id != host.attempt_id or not _same_instance(row, stream) or not self._in_a_writing_state(row):
            raise self.refused("Submission attempt no longer owns work for this agent instance.")

    def _in_a_writing_state(self, row: Row) -> bool:
        if row.status == "terminalizing":
            return self.settlement is not None and self.settlement == (row.settlement_record_id, row.settlement_record)
        return bool(row.status == "running")

    def refused(self, reason: str) -> ConversationStreamStoreError:
        return ConversationStreamStoreError("append", self.path, reason)


def _joined(row: Row | None, host: str) -> bool:
    return row is not None and row.status in ("joining", "joined") and row.joined_into == host


def _same_instance(row: Row, stream: Row) -> bool:
    address = parse_session_key(row.session_key)
    if address is None:
        return False
    try:
        identity = parse_json(stream.identity_json)
    except ValueError:
        return False
    return isinstance(identity, dict) and (identity.get("agentName"), identity.get("instanceId")) == (address.agent, address.instance_id)


def _too_large(records: Sequence[Mapping[str, Any]], size: int) -> str:
    largest, length = max(((record, utf16_length(canonical_json(record))) for record in records), key=lambda pair: pair[1])
    return (
        f"The batch serializes to ~{_megabytes(size)}MB, above the 12MB per-append ceiling. "
        f'The largest record is a "{largest.get("type")}" record (id "{largest.get("id")}") at ~{_megabytes(length)}MB. '
        "Keep large content in an attachment or an artifact and refer to it."
    )


def _megabytes(units: int) -> str:
    return f"{units / (1024 * 1024):.1f}"
