"""Turn journals, stream segments and attempt markers (spec/submissions.md §14 to §16)."""

from __future__ import annotations

from flue_sqla.repositories.journals.markers import MarkerPart
from flue_sqla.repositories.journals.segments import SegmentPart
from flue_sqla.repositories.journals.turns import TurnPart

__all__ = ["Journals"]


class Journals(TurnPart, SegmentPart, MarkerPart):
    """What an agent writes down about a turn while it runs, so that another process can take it up.

    Each call is one transaction, on PostgreSQL one statement.
    """
