"""The session store of the reference model: documents, long conversations, deletion."""

from __future__ import annotations

from flue_sqla.clock import Clock
from flue_sqla.testing.model.database import MemoryDatabase
from flue_sqla.testing.model.deletion import SessionDeletion
from flue_sqla.testing.model.session_paths import SessionPaths

__all__ = ["MemorySessions"]


class MemorySessions(SessionPaths, SessionDeletion):
    """spec/submissions.md §16 and §17, with our ``append``, ``tail`` and ``context``."""

    def __init__(self, database: MemoryDatabase, clock: Clock) -> None:
        SessionDeletion.__init__(self, database, clock)
