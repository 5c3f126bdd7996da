"""The contracts: one base class per kind of store. Subclass one in a test module and give it a fixture named ``stores``.

    from flue_sqla.testing.contracts import AttachmentContract

    class TestMyAttachments(AttachmentContract):
        pass

Every test is named after the item of the contract that it checks: ``s`` submissions, ``c`` conversations, ``a`` attachments, ``x``
behaviours that Flue's own suites do not cover, ``n`` our ``claim_next`` and ``release``, ``d`` sessions, ``j`` journals, ``r`` runs,
``e`` events.
"""

from __future__ import annotations

from flue_sqla.testing.contracts.attachments import AttachmentContract
from flue_sqla.testing.contracts.conversations import ConversationContract, SpillContract
from flue_sqla.testing.contracts.events import EventContract
from flue_sqla.testing.contracts.journals import JournalContract
from flue_sqla.testing.contracts.runs import RunContract
from flue_sqla.testing.contracts.sessions import SessionContract
from flue_sqla.testing.contracts.stamps import StampContract
from flue_sqla.testing.contracts.submissions import SubmissionContract
from flue_sqla.testing.contracts.wire import WireContract

__all__ = [
    "AttachmentContract",
    "ConversationContract",
    "EventContract",
    "JournalContract",
    "RunContract",
    "SessionContract",
    "SpillContract",
    "StampContract",
    "SubmissionContract",
    "WireContract",
]
