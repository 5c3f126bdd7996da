"""Event streams (spec/streams.md part B)."""

from __future__ import annotations

from flue_sqla.repositories.events.store import Events

__all__ = ["Events"]
