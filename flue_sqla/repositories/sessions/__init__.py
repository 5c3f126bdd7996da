"""Agent sessions (spec/submissions.md §16, §17)."""

from __future__ import annotations

from flue_sqla.repositories.sessions.store import Sessions

__all__ = ["Sessions"]
