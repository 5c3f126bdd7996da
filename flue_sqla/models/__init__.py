"""Declarative models of every ``flue_*`` table, one file per aggregate.

``Base.metadata`` holds the superset of the three profiles; ``metadata_for(dialect_name)`` what one database really has.
"""

from __future__ import annotations

from flue_sqla.models.artifacts import Artifact
from flue_sqla.models.attachments import Attachment, AttachmentChunk, OffloadedAttachment
from flue_sqla.models.base import Base
from flue_sqla.models.conversations import (
    ConversationBatch,
    ConversationBatchChunk,
    ConversationStream,
    FoldCheckpoint,
    FoldCheckpointChunk,
)
from flue_sqla.models.events import EventStream, EventStreamEntry
from flue_sqla.models.journals import AttemptMarker, StreamChunk, TurnJournal
from flue_sqla.models.meta import Meta
from flue_sqla.models.profiles import metadata_for, profile_of
from flue_sqla.models.runs import Run
from flue_sqla.models.sessions import AgentSession, AgentSessionEntry, DispatchReceipt, ImageChunk, SessionDeletion
from flue_sqla.models.submissions import SessionLock, Submission, SubmissionChunk

__all__ = [
    "AgentSession",
    "AgentSessionEntry",
    "Artifact",
    "Attachment",
    "AttachmentChunk",
    "AttemptMarker",
    "Base",
    "ConversationBatch",
    "ConversationBatchChunk",
    "ConversationStream",
    "DispatchReceipt",
    "EventStream",
    "EventStreamEntry",
    "FoldCheckpoint",
    "FoldCheckpointChunk",
    "ImageChunk",
    "Meta",
    "OffloadedAttachment",
    "Run",
    "SessionDeletion",
    "SessionLock",
    "StreamChunk",
    "Submission",
    "SubmissionChunk",
    "TurnJournal",
    "metadata_for",
    "profile_of",
]
