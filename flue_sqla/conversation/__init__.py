"""Conversations as a Flue 2.x server reads them: fold, rules, inspection, and the building of records (spec/streams.md §6, §7).

Pure functions of records; nothing here touches a database.
"""

from __future__ import annotations

from flue_sqla.conversation import builders, repairs
from flue_sqla.conversation.attachments import submission_attachments
from flue_sqla.conversation.envelope import Envelope
from flue_sqla.conversation.graph import AssistantDraft, AssistantEntry, Conversation, Entry, Rules, SubmissionTrace, ToolCall, ToolOutcome
from flue_sqla.conversation.inspection import Inspection, inspect_submission
from flue_sqla.conversation.state import ConversationState, fold
from flue_sqla.conversation.verification import BrokenRecord, StreamVerdict, verify_stream

__all__ = [
    "AssistantDraft",
    "AssistantEntry",
    "BrokenRecord",
    "Conversation",
    "ConversationState",
    "Entry",
    "Envelope",
    "Inspection",
    "Rules",
    "StreamVerdict",
    "SubmissionTrace",
    "ToolCall",
    "ToolOutcome",
    "builders",
    "fold",
    "inspect_submission",
    "repairs",
    "submission_attachments",
    "verify_stream",
]
