"""The tables of the models under short names, for Core statements: ``from flue_sqla.models import tables``.

These are the tables of the superset metadata; name the columns that you read and write, never ``select(table)``.
"""

from __future__ import annotations

from typing import cast

from sqlalchemy import Table

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
from flue_sqla.models.runs import Run
from flue_sqla.models.sessions import AgentSession, AgentSessionEntry, DispatchReceipt, ImageChunk, SessionDeletion
from flue_sqla.models.submissions import SessionLock, Submission, SubmissionChunk


def _table(model: type[Base]) -> Table:
    return cast(Table, model.__table__)


meta = _table(Meta)
submissions = _table(Submission)
submission_chunks = _table(SubmissionChunk)
session_locks = _table(SessionLock)
streams = _table(ConversationStream)
batches = _table(ConversationBatch)
batch_chunks = _table(ConversationBatchChunk)
fold_checkpoints = _table(FoldCheckpoint)
fold_checkpoint_chunks = _table(FoldCheckpointChunk)
attachments = _table(Attachment)
attachment_chunks = _table(AttachmentChunk)
offloaded_attachments = _table(OffloadedAttachment)
sessions = _table(AgentSession)
session_entries = _table(AgentSessionEntry)
image_chunks = _table(ImageChunk)
turn_journals = _table(TurnJournal)
stream_chunks = _table(StreamChunk)
session_deletions = _table(SessionDeletion)
dispatch_receipts = _table(DispatchReceipt)
attempt_markers = _table(AttemptMarker)
runs = _table(Run)
event_streams = _table(EventStream)
event_entries = _table(EventStreamEntry)
artifacts = _table(Artifact)
