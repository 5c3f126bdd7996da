"""Workflow runs and their index (spec/runs.md)."""

from __future__ import annotations

from flue_sqla.repositories.runs.recorder import RunRecorder
from flue_sqla.repositories.runs.store import Runs

__all__ = ["RunRecorder", "Runs"]
