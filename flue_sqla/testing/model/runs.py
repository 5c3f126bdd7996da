"""Workflow runs in memory (spec/runs.md §1 to §3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flue_sqla.records import UNSET, Run, RunPage, RunPointer, TraceCarrier, WorkflowRunPointer
from flue_sqla.testing.model.database import MemoryDatabase, Row
from flue_sqla.wire import canonical_json, decode_run_cursor, encode_run_cursor, parse_json

__all__ = ["MemoryRuns"]

TABLE = "flue_runs"


class MemoryRuns:
    """The run store of the reference model."""

    def __init__(self, database: MemoryDatabase) -> None:
        self.database = database

    def create(
        self,
        *,
        run_id: str,
        workflow_name: str,
        started_at: str,
        input: Any = UNSET,
        trace_carrier: Mapping[str, str] | None = None,
    ) -> None:
        carrier = trace_carrier or {}
        with self.database.transaction():
            if self.database.find(TABLE, run_id=run_id) is not None:
                return
            self.database.insert(
                TABLE,
                run_id=run_id,
                workflow_name=workflow_name,
                status="active",
                started_at=started_at,
                payload=_text(input),
                traceparent=carrier.get("traceparent"),
                tracestate=carrier.get("tracestate"),
                ended_at=None,
                is_error=None,
                duration_ms=None,
                result=None,
                error=None,
            )

    def end(self, run_id: str, /, *, ended_at: str, is_error: bool, duration_ms: int, result: Any = UNSET, error: Any = UNSET) -> None:
        self.database.update(
            TABLE,
            {"run_id": run_id},
            status="errored" if is_error else "completed",
            ended_at=ended_at,
            is_error=is_error,
            duration_ms=duration_ms,
            result=_text(result),
            error=_text(error),
        )

    def get(self, run_id: str, /) -> Run | None:
        row = self.database.find(TABLE, run_id=run_id)
        if row is None:
            return None
        carrier = None if row["traceparent"] is None else TraceCarrier(traceparent=row["traceparent"], tracestate=row["tracestate"])
        return Run(
            **_pointer(row), input=_value(row["payload"]), trace_carrier=carrier, result=_value(row["result"]), error=_value(row["error"])
        )

    def lookup(self, run_id: str, /) -> WorkflowRunPointer | None:
        row = self.database.find(TABLE, run_id=run_id)
        return None if row is None else WorkflowRunPointer(run_id=run_id, workflow_name=row["workflow_name"])

    def list(
        self, *, status: str | None = None, workflow_name: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> RunPage:
        after = decode_run_cursor(cursor)
        size = min(limit, 1_000) if limit is not None and limit > 0 else 100
        rows = [
            row
            for row in self.database.select(TABLE)
            if (not status or row["status"] == status)
            and (not workflow_name or row["workflow_name"] == workflow_name)
            and (after is None or _position(row["started_at"], row["run_id"]) < _position(*after))
        ]
        rows.sort(key=lambda row: _position(row["started_at"], row["run_id"]), reverse=True)
        page = [RunPointer(**_pointer(row)) for row in rows[:size]]
        following = encode_run_cursor(page[-1].started_at, page[-1].run_id) if len(rows) > size else None
        return RunPage(runs=page, next_cursor=following)


def _position(started_at: str, run_id: str) -> tuple[bytes, bytes]:
    """What runs are ordered by: bytes, not what a locale makes of them."""
    return started_at.encode(), run_id.encode()


def _pointer(row: Row) -> Row:
    return {name: row[name] for name in RunPointer.model_fields}


def _text(value: Any) -> str | None:
    return None if value is UNSET else canonical_json(value)


def _value(text: str | None) -> Any:
    return UNSET if text is None else parse_json(text)
