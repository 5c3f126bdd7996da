"""Every contract on every enabled database, through the synchronous and the asynchronous driver."""

from __future__ import annotations

from flue_sqla.testing.contracts import (
    AttachmentContract,
    ConversationContract,
    EventContract,
    JournalContract,
    RunContract,
    SessionContract,
    SpillContract,
    StampContract,
    SubmissionContract,
)


class TestSubmissions(SubmissionContract):
    pass


class TestConversations(ConversationContract):
    pass


class TestSpill(SpillContract):
    pass


class TestAttachments(AttachmentContract):
    pass


class TestStamp(StampContract):
    pass


class TestSessions(SessionContract):
    pass


class TestJournals(JournalContract):
    pass


class TestRuns(RunContract):
    pass


class TestEvents(EventContract):
    pass
