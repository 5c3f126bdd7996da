"""Durable, shared state for AI agents, inside applications that already use SQLAlchemy."""

from __future__ import annotations

from flue_sqla.errors import FlueError
from flue_sqla.flue import Flue, Unit
from flue_sqla.records import (
    UNSET,
    Admission,
    Artifact,
    Attachment,
    AttachmentRef,
    Attempt,
    DirectInput,
    DispatchInput,
    DispatchReceipt,
    Durability,
    FoldCheckpoint,
    Lease,
    Outcome,
    ProducerClaim,
    SettlementObligation,
    StreamBatch,
    StreamIdentity,
    StreamMeta,
    StreamPage,
    Submission,
    TraceCarrier,
)
from flue_sqla.settings import FlueSettings

__all__ = [
    "UNSET",
    "Admission",
    "Artifact",
    "Attachment",
    "AttachmentRef",
    "Attempt",
    "DirectInput",
    "DispatchInput",
    "DispatchReceipt",
    "Durability",
    "Flue",
    "FlueError",
    "FlueSettings",
    "FoldCheckpoint",
    "Lease",
    "Outcome",
    "ProducerClaim",
    "SettlementObligation",
    "StreamBatch",
    "StreamIdentity",
    "StreamMeta",
    "StreamPage",
    "Submission",
    "TraceCarrier",
    "Unit",
]
