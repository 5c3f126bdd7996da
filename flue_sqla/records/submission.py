"""Submissions, their inputs, attempts and settlements (spec/submissions.md §3, §5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from flue_sqla.clock import SystemClock
from flue_sqla.records.base import Record
from flue_sqla.records.unset import UNSET, UnsetType
from flue_sqla.wire import format_timestamp, new_id

__all__ = [
    "Admission",
    "Attempt",
    "DirectInput",
    "DispatchInput",
    "Durability",
    "Lease",
    "Receipt",
    "SettlementObligation",
    "Submission",
    "TraceCarrier",
]


class Attempt(Record):
    """One try at one submission; the fence of every transition."""

    submission_id: str
    attempt_id: str


class Lease(Record):
    """Who holds an attempt, until when (epoch ms)."""

    owner_id: str
    lease_expires_at: int


class Durability(Record):
    """The budget of a submission: attempts, and a wall-clock deadline (epoch ms, 0 for none)."""

    max_attempts: int
    timeout_at: int


class TraceCarrier(Record):
    """W3C trace context of the caller."""

    traceparent: str
    tracestate: str | None = None


def _accepted_now() -> str:
    return format_timestamp(SystemClock().now())


class _Input(Record):
    submission_id: str = Field(default_factory=lambda: new_id("sub"))
    agent: str
    id: str
    message: dict[str, Any]
    initial_data: Any = UNSET
    accepted_at: str = Field(default_factory=_accepted_now)

    wire_nulls: ClassVar[frozenset[str]] = frozenset({"initial_data"})
    kind: ClassVar[Literal["dispatch", "direct"]]

    @classmethod
    def from_wire(cls, obj: Mapping[str, Any]) -> Self:
        """As :meth:`Record.from_wire`; a ``kind`` key is accepted when it names this very kind."""
        if isinstance(obj, Mapping) and obj.get("kind") == cls.kind:
            obj = {key: value for key, value in obj.items() if key != "kind"}
        return super().from_wire(obj)

    def to_payload(self) -> dict[str, Any]:
        """The payload document in the contract's key order (spec/submissions.md §3.2)."""
        payload: dict[str, Any] = {
            "kind": self.kind,
            "submissionId": self.submission_id,
            "agent": self.agent,
            "id": self.id,
            "message": self.message,
        }
        if self.initial_data is not UNSET:
            payload["initialData"] = self.initial_data
        payload["acceptedAt"] = self.accepted_at
        return payload


class DispatchInput(_Input):
    """What an internal ``dispatch()`` admits. ``uid`` is the caller's send condition; it is never stored."""

    kind: ClassVar[Literal["dispatch"]] = "dispatch"
    wire_nulls: ClassVar[frozenset[str]] = frozenset({"initial_data", "uid"})

    uid: str | UnsetType | None = UNSET


class DirectInput(_Input):
    """What an HTTP prompt admits."""

    kind: ClassVar[Literal["direct"]] = "direct"

    trace_carrier: TraceCarrier | None = None

    def to_wire(self) -> dict[str, Any]:
        return self.to_payload()

    def to_payload(self) -> dict[str, Any]:
        payload = super().to_payload()
        if self.trace_carrier is not None:
            payload["traceCarrier"] = self.trace_carrier.to_wire()
        return payload


class Submission(Record):
    """One accepted submission as it is stored now. Times are epoch ms; 0 means unset for ``timeout_at`` and ``lease_expires_at``."""

    wire_nulls: ClassVar[frozenset[str]] = frozenset({"canonical_ready_at"})

    sequence: int
    submission_id: str
    session_key: str
    kind: str
    status: str
    input: dict[str, Any]
    accepted_at: int
    canonical_ready_at: int | None = None
    attempt_id: str | None = None
    input_applied_at: int | None = None
    abort_requested_at: int | None = None
    started_at: int | None = None
    joined_into: str | None = None
    error: str | None = None
    settled_at: int | None = None
    owner_id: str | None = None
    attempt_count: int
    max_attempts: int
    timeout_at: int
    lease_expires_at: int

    @property
    def attempt(self) -> Attempt | None:
        """The attempt that owns the submission now, if any."""
        return None if self.attempt_id is None else Attempt(submission_id=self.submission_id, attempt_id=self.attempt_id)


class Receipt(Record):
    """What is kept of a submission whose row was pruned or deleted (spec/submissions.md §12)."""

    submission_id: str
    accepted_at: int


class Admission(Record):
    """The outcome of ``admit_dispatch``: the submission, a conflict, or the receipt of one that is gone."""

    kind: Literal["submission", "conflict", "retained_receipt"]
    submission: Submission | None = None
    receipt: Receipt | None = None


class SettlementObligation(Record):
    """A reserved settlement that still has to reach the stream and the row (spec/submissions.md §7.9)."""

    submission_id: str
    session_key: str
    attempt_id: str
    record_id: str
    record: dict[str, Any]
