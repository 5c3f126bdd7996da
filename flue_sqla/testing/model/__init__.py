"""The in-memory reference model: every store of the contract, written straight from the specification.

It is single-minded rather than fast: one transaction at a time, rows in lists, each rule where the specification states it. The
conformance suite passes against it, and the state machine of :mod:`flue_sqla.testing.machine` compares a database with it.
"""

from __future__ import annotations

from flue_sqla.testing.clock import ManualClock
from flue_sqla.testing.model.attachments import MemoryAttachments
from flue_sqla.testing.model.conversations import MemoryConversations
from flue_sqla.testing.model.database import MemoryDatabase
from flue_sqla.testing.model.events import MemoryEvents
from flue_sqla.testing.model.journals import MemoryJournals
from flue_sqla.testing.model.runs import MemoryRuns
from flue_sqla.testing.model.sessions import MemorySessions
from flue_sqla.testing.model.submissions import MemorySubmissions
from flue_sqla.testing.stores import Stores

__all__ = ["MemoryDatabase", "MemorySubmissions", "memory_stores"]


def memory_stores(clock: ManualClock | None = None) -> Stores:
    """Fresh, empty stores of the reference model over one in-memory database."""
    clock = clock or ManualClock()
    database = MemoryDatabase()
    return Stores(
        submissions=MemorySubmissions(database, clock),
        conversations=MemoryConversations(database, clock),
        attachments=MemoryAttachments(database, clock),
        sessions=MemorySessions(database, clock),
        journals=MemoryJournals(database, clock),
        runs=MemoryRuns(database),
        events=MemoryEvents(database),
        clock=clock,
        rows=database,
        profile="memory",
    )
