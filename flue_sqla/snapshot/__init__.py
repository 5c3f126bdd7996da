"""Snapshots: everything in a database as one file, and back, also into a database of another kind. ``docs/snapshots.md``."""

from __future__ import annotations

from flue_sqla.snapshot.exporting import export
from flue_sqla.snapshot.importing import Mode, load
from flue_sqla.snapshot.report import LoadReport, SnapshotInfo, TableInfo, TableReport
from flue_sqla.snapshot.summary import inspect

__all__ = ["LoadReport", "Mode", "SnapshotInfo", "TableInfo", "TableReport", "export", "inspect", "load"]
