"""``flue-sqla check``: database, schema, rights, clock and object store, each by really using it. ``docs/check.md``."""

from __future__ import annotations

from flue_sqla.checks.report import Area, CheckReport, Status, Step
from flue_sqla.checks.run import run_checks

__all__ = ["Area", "CheckReport", "Status", "Step", "run_checks"]
