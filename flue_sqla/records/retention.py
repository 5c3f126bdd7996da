"""What prune did, or would do."""

from __future__ import annotations

from flue_sqla.records.base import Record

__all__ = ["PruneProgress", "PruneReport"]


class PruneReport(Record):
    """Rows by table. ``deleted`` names every table that was looked at; ``receipts`` counts those that pruned submissions left."""

    dry_run: bool
    deleted: dict[str, int]
    receipts: int

    @property
    def total(self) -> int:
        """All deleted rows."""
        return sum(self.deleted.values())


class PruneProgress(Record):
    """After each batch: of ``total`` things of one kind, ``done`` are gone. ``total`` was counted at the start and is a guide only."""

    step: str
    done: int
    total: int
