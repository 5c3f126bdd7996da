"""Workflow runs (spec/runs.md §1)."""

from __future__ import annotations

from typing import Any, ClassVar

from flue_sqla.records.base import Record
from flue_sqla.records.submission import TraceCarrier
from flue_sqla.records.unset import UNSET

__all__ = ["Run", "RunPage", "RunPointer", "WorkflowRunPointer"]


class Run(Record):
    """One workflow run. Times are ISO-8601 text; ``input``, ``result`` and ``error`` are any JSON, ``UNSET`` when never given."""

    wire_nulls: ClassVar[frozenset[str]] = frozenset({"input", "result", "error"})

    run_id: str
    workflow_name: str
    status: str
    started_at: str
    input: Any = UNSET
    trace_carrier: TraceCarrier | None = None
    ended_at: str | None = None
    is_error: bool | None = None
    duration_ms: int | None = None
    result: Any = UNSET
    error: Any = UNSET


class RunPointer(Record):
    """What a listing tells of a run."""

    run_id: str
    workflow_name: str
    status: str
    started_at: str
    ended_at: str | None = None
    duration_ms: int | None = None
    is_error: bool | None = None


class RunPage(Record):
    """One page of a listing; ``next_cursor`` is absent on the last one."""

    runs: list[RunPointer]
    next_cursor: str | None = None


class WorkflowRunPointer(Record):
    """Which workflow a run belongs to."""

    run_id: str
    workflow_name: str
