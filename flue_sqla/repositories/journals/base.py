"""What the parts of the journal repository share."""

from __future__ import annotations

from flue_sqla.repositories.scope import Scope
from flue_sqla.wire import require_storable

__all__ = ["JournalPart"]


class JournalPart:
    """One part of :class:`~flue_sqla.repositories.journals.Journals`."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def _check(self, **keys: str) -> None:
        """Refuse identifiers that a column would truncate or cannot hold, before any statement."""
        for column, value in keys.items():
            self._scope.dialect.check_key(column, require_storable(value, column))
