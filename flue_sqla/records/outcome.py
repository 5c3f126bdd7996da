"""What becomes of a submission: the receipt of its admission, who holds it, and its outcome."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from flue_sqla.records.base import Record
from flue_sqla.records.unset import UNSET

__all__ = ["DispatchReceipt", "Holding", "Outcome", "SettledRow"]


class DispatchReceipt(Record):
    """The answer to a dispatch. ``deduplicated``: this very work was accepted before, so nothing new was. ``accepted_at`` is epoch ms."""

    submission_id: str
    accepted_at: int
    deduplicated: bool


class Outcome(Record):
    """How a submission ended.

    ``result`` is what the handler returned (or the text of the answer, when that is no JSON); ``UNSET`` when there is none. ``error`` is
    the row's message, which is for operators; ``settled_at`` is epoch ms.
    """

    wire_nulls: ClassVar[frozenset[str]] = frozenset({"result"})

    submission_id: str
    outcome: Literal["completed", "failed", "aborted"]
    result: Any = UNSET
    error: str | None = None
    settled_at: int

    @property
    def ok(self) -> bool:
        """Whether it completed."""
        return self.outcome == "completed"


class Holding(Record):
    """Who holds a submission, until when, and what was asked of it; times are epoch ms, 0 and None for never."""

    submission_id: str
    status: str
    attempt_id: str | None = None
    owner_id: str | None = None
    lease_expires_at: int
    abort_requested_at: int | None = None
    timeout_at: int


class SettledRow(Record):
    """What a submission's row says of its outcome; ``record`` is the settlement record, if one was reserved."""

    submission_id: str
    session_key: str
    kind: str
    status: str
    joined_into: str | None = None
    settled_at: int | None = None
    error: str | None = None
    abort_requested_at: int | None = None
    record: dict[str, Any] | None = None
