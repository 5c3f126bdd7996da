"""The events that frame a run, and the envelope of every event (spec/streams.md §11, spec/runs.md §4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flue_sqla.wire import format_timestamp

__all__ = ["EVENT_VERSION", "RUN_END_KEY", "enveloped", "run_end", "run_resume", "run_start"]

EVENT_VERSION: Final = 3
"""Readers reject an event of another version."""

RUN_END_KEY: Final = "run_end"
"""The key under which the end of a run is appended, so that it is there once whoever repeats it."""


def enveloped(event: Mapping[str, Any], run_id: str, index: int, now: int) -> dict[str, Any]:
    """The event as it is stored: its own fields, then run id, version, index and time (epoch ms)."""
    return {**event, "runId": run_id, "v": EVENT_VERSION, "eventIndex": index, "timestamp": format_timestamp(now)}


def run_start(run_id: str, workflow_name: str, started_at: str, input: Any) -> dict[str, Any]:
    """The first event of a run."""
    return {"type": "run_start", "runId": run_id, "workflowName": workflow_name, "startedAt": started_at, "input": input}


def run_resume(run_id: str, workflow_name: str, started_at: str) -> dict[str, Any]:
    """Somebody took up a run that its own process had left."""
    return {"type": "run_resume", "runId": run_id, "workflowName": workflow_name, "startedAt": started_at}


def run_end(run_id: str, *, result: Any, error: Any, is_error: bool, duration_ms: int) -> dict[str, Any]:
    """The last event of a run; ``error`` only where there is one."""
    failure = {"error": error} if is_error else {}
    return {"type": "run_end", "runId": run_id, "result": result, "isError": is_error, **failure, "durationMs": duration_ms}
