"""The session contract: spec/submissions.md §12, §16 and §17, and what our sessions offer beyond it."""

from __future__ import annotations

from flue_sqla.testing.contracts.sessions.deletion import SessionDeletionContract
from flue_sqla.testing.contracts.sessions.documents import SessionDocumentContract
from flue_sqla.testing.contracts.sessions.paths import LongSessionContract

__all__ = ["LongSessionContract", "SessionContract"]


class SessionContract(SessionDocumentContract, SessionDeletionContract, LongSessionContract):
    """Every behaviour of session documents and their deletion."""
