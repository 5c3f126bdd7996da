"""The contracts on the reference model: a suite that its own model fails would prove nothing about a database."""

from __future__ import annotations

import pytest

from flue_sqla.testing.contracts import (
    AttachmentContract,
    ConversationContract,
    EventContract,
    JournalContract,
    RunContract,
    SessionContract,
    SubmissionContract,
    WireContract,
)
from flue_sqla.testing.model import memory_stores
from flue_sqla.testing.stores import Stores


@pytest.fixture
def stores() -> Stores:
    return memory_stores()


class TestSubmissions(SubmissionContract):
    pass


class TestConversations(ConversationContract):
    pass


class TestAttachments(AttachmentContract):
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
