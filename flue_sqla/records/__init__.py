"""The value objects that repositories take and return."""

from __future__ import annotations

from flue_sqla.records.artifact import Artifact, ArtifactPage, SweepReport, VerifyReport
from flue_sqla.records.attachment import Attachment, AttachmentRef
from flue_sqla.records.conversation import FoldCheckpoint, ProducerClaim, StreamBatch, StreamIdentity, StreamMeta, StreamPage
from flue_sqla.records.event import EventPage, EventStreamMeta, StoredEvent
from flue_sqla.records.journal import AttemptMarker, StreamSegment, TurnJournal
from flue_sqla.records.outcome import DispatchReceipt, Outcome
from flue_sqla.records.overview import AgentStatus, StatusReport, SubmissionSummary
from flue_sqla.records.retention import PruneProgress, PruneReport
from flue_sqla.records.run import Run, RunPage, RunPointer, WorkflowRunPointer
from flue_sqla.records.submission import (
    Admission,
    Attempt,
    DirectInput,
    DispatchInput,
    Durability,
    Lease,
    Receipt,
    SettlementObligation,
    Submission,
    TraceCarrier,
)
from flue_sqla.records.unset import UNSET, Unset, UnsetType

__all__ = [
    "UNSET",
    "Admission",
    "AgentStatus",
    "Artifact",
    "ArtifactPage",
    "Attachment",
    "AttachmentRef",
    "Attempt",
    "AttemptMarker",
    "DirectInput",
    "DispatchInput",
    "DispatchReceipt",
    "Durability",
    "EventPage",
    "EventStreamMeta",
    "FoldCheckpoint",
    "Lease",
    "Outcome",
    "ProducerClaim",
    "PruneProgress",
    "PruneReport",
    "Receipt",
    "Run",
    "RunPage",
    "RunPointer",
    "SettlementObligation",
    "StatusReport",
    "StoredEvent",
    "StreamBatch",
    "StreamIdentity",
    "StreamMeta",
    "StreamPage",
    "StreamSegment",
    "Submission",
    "SubmissionSummary",
    "SweepReport",
    "TraceCarrier",
    "TurnJournal",
    "Unset",
    "UnsetType",
    "VerifyReport",
    "WorkflowRunPointer",
]
