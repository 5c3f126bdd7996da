"""Rows of ``flue_runs`` and the records they stand for (spec/runs.md §1)."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.errors import InvalidInputError, MalformedRowError
from flue_sqla.models.tables import runs
from flue_sqla.records.run import Run, RunPointer
from flue_sqla.records.submission import TraceCarrier
from flue_sqla.records.unset import UNSET
from flue_sqla.wire import canonical_json, parse_json

__all__ = ["LONGEST_DURATION_MS", "POINTER_COLUMNS", "RUN_COLUMNS", "checked_duration", "json_text", "pointer_of", "run_of"]

LONGEST_DURATION_MS: Final = 2**31 - 1
"""What the contract's INTEGER column holds: 24 days and 20 hours."""

RUN_COLUMNS: Final = (
    runs.c.run_id,
    runs.c.workflow_name,
    runs.c.status,
    runs.c.started_at,
    runs.c.payload,
    runs.c.traceparent,
    runs.c.tracestate,
    runs.c.ended_at,
    runs.c.is_error,
    runs.c.duration_ms,
    runs.c.result,
    runs.c.error,
)
POINTER_COLUMNS: Final = (
    runs.c.run_id,
    runs.c.workflow_name,
    runs.c.status,
    runs.c.started_at,
    runs.c.ended_at,
    runs.c.duration_ms,
    runs.c.is_error,
)


def json_text(value: Any) -> str | None:
    """The column of a JSON value: NULL for one that was not given, the text ``null`` for JSON null."""
    return None if value is UNSET else canonical_json(value)


def checked_duration(duration_ms: int) -> int:
    """The duration itself, if every supported database can hold it.

    Raises:
        InvalidInputError: not a whole number of ms, negative, or longer than 2 147 483 647 ms.
    """
    if type(duration_ms) is not int or not 0 <= duration_ms <= LONGEST_DURATION_MS:
        raise InvalidInputError(
            f"A duration is a whole number of milliseconds from 0 to {LONGEST_DURATION_MS}.",
            meta={"field": "duration_ms", "duration_ms": duration_ms},
        )
    return duration_ms


def run_of(row: sa.Row[Any]) -> Run:
    """The run that a row of ``RUN_COLUMNS`` stands for.

    Raises:
        MalformedRowError: a JSON column does not hold JSON.
    """
    carrier = None if row.traceparent is None else TraceCarrier(traceparent=row.traceparent, tracestate=row.tracestate)
    return Run.model_construct(
        run_id=row.run_id,
        workflow_name=row.workflow_name,
        status=row.status,
        started_at=row.started_at,
        input=_json_value(row, "payload"),
        trace_carrier=carrier,
        ended_at=row.ended_at,
        is_error=row.is_error,
        duration_ms=row.duration_ms,
        result=_json_value(row, "result"),
        error=_json_value(row, "error"),
    )


def pointer_of(row: sa.Row[Any]) -> RunPointer:
    """The listing's record of a row of ``POINTER_COLUMNS``."""
    return RunPointer.model_construct(**row._mapping)


def _json_value(row: sa.Row[Any], column: str) -> Any:
    text = row._mapping[column]
    if text is None:
        return UNSET
    try:
        return parse_json(text)
    except ValueError as error:
        raise MalformedRowError(
            f"[flue] Persisted run row is malformed: {column} is not JSON.", meta={"runId": row.run_id, "column": column}
        ) from error
