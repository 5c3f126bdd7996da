"""Every contract, against the stores that the plugin opened."""

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
    WireContract,
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


class TestWire(WireContract):
    pass
