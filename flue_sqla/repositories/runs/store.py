"""Records of workflow runs: created once, ended, looked up, listed (spec/runs.md §2)."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from flue_sqla.errors import InvalidInputError
from flue_sqla.models.tables import runs
from flue_sqla.records.run import Run, RunPage, WorkflowRunPointer
from flue_sqla.records.submission import TraceCarrier
from flue_sqla.records.unset import UNSET
from flue_sqla.repositories.paging import page_limit
from flue_sqla.repositories.per_dialect import PerDialect
from flue_sqla.repositories.runs.listing import page_statement
from flue_sqla.repositories.runs.recorder import RunRecorder
from flue_sqla.repositories.runs.recovery import recover
from flue_sqla.repositories.runs.rows import RUN_COLUMNS, checked_duration, json_text, pointer_of, run_of
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.wire import RunCursor, decode_run_cursor, encode_run_cursor, require_storable

__all__ = ["Runs"]

_RUN = sa.bindparam("of_run", type_=sa.Text())
_CREATED = ("run_id", "workflow_name", "status", "started_at", "payload", "traceparent", "tracestate")
_MANDATORY = ("run_id", "workflow_name", "started_at")

_CREATE: PerDialect[Any] = PerDialect(lambda dialect: dialect.insert_ignore(runs).values({name: sa.bindparam(name) for name in _CREATED}))
_END = (
    sa.update(runs)
    .where(runs.c.run_id == _RUN)
    .values({name: sa.bindparam(f"new_{name}") for name in ("status", "ended_at", "is_error", "duration_ms", "result", "error")})
)
_GET = sa.select(*RUN_COLUMNS).where(runs.c.run_id == _RUN)
_LOOKUP = sa.select(runs.c.run_id, runs.c.workflow_name).where(runs.c.run_id == _RUN)


class Runs:
    """Workflow runs. Ids and names are opaque text; ``started_at`` and ``ended_at`` are ISO-8601 text, ordered as text."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def create(
        self,
        *,
        run_id: str,
        workflow_name: str,
        started_at: str,
        input: Any = UNSET,
        trace_carrier: TraceCarrier | Mapping[str, Any] | None = None,
    ) -> None:
        """Record an ``active`` run. The first writer wins: a run id that exists makes this a silent no-op.

        Args:
            input: any JSON; ``None`` is JSON null, ``UNSET`` is no input.
            trace_carrier: the caller's W3C trace context.

        Raises:
            InvalidInputError: a value cannot be stored; no statement was sent.
        """
        carrier = TraceCarrier.from_wire(trace_carrier) if isinstance(trace_carrier, Mapping) else trace_carrier
        values = {
            "run_id": run_id,
            "workflow_name": workflow_name,
            "status": "active",
            "started_at": started_at,
            "payload": json_text(input),
            "traceparent": carrier.traceparent if carrier else None,
            "tracestate": carrier.tracestate if carrier else None,
        }
        for name in (*_MANDATORY, "traceparent", "tracestate"):
            if name in _MANDATORY or values[name] is not None:
                self._scope.dialect.check_key(name, require_storable(values[name], name))

        def operation(executor: Executor) -> None:
            self._scope.dialect.check_packet(executor, values["payload"] or "")
            executor.execute(_CREATE(self._scope.dialect), values)

        self._scope.single(operation)

    def end(self, run_id: str, *, ended_at: str, is_error: bool, duration_ms: int, result: Any = UNSET, error: Any = UNSET) -> None:
        """Write the outcome, whatever the run's status: a second end overwrites the first. An unknown run id is no error.

        Args:
            duration_ms: 0 to 2 147 483 647.
            result: any JSON; ``UNSET`` stores none, as for ``error``.

        Raises:
            InvalidInputError: a value cannot be stored; no statement was sent.
        """
        values = {
            "of_run": require_storable(run_id, "run_id"),
            "new_status": "errored" if is_error else "completed",
            "new_ended_at": require_storable(ended_at, "ended_at"),
            "new_is_error": bool(is_error),
            "new_duration_ms": checked_duration(duration_ms),
            "new_result": json_text(result),
            "new_error": json_text(error),
        }
        self._scope.dialect.check_key("run_id", run_id)
        self._scope.dialect.check_key("ended_at", ended_at)

        def operation(executor: Executor) -> None:
            self._scope.dialect.check_packet(executor, json_text(result) or "", json_text(error) or "")
            executor.execute(_END, values)

        self._scope.single(operation)

    def get(self, run_id: str) -> Run | None:
        """The whole record, or None.

        Raises:
            MalformedRowError: a JSON column does not hold JSON.
        """
        row = self._one(_GET, run_id)
        return None if row is None else run_of(row)

    def lookup(self, run_id: str) -> WorkflowRunPointer | None:
        """Which workflow the run belongs to, or None."""
        row = self._one(_LOOKUP, run_id)
        return None if row is None else WorkflowRunPointer.model_construct(run_id=row.run_id, workflow_name=row.workflow_name)

    def list(
        self,
        *,
        status: str | None = None,
        workflow_name: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> RunPage:
        """One page of runs, newest first; every page costs the same.

        Args:
            status, workflow_name: exact filters, combined; empty or None filters nothing.
            limit: at most this many; absent, zero or negative is 100, more than 1000 is 1000.
            cursor: ``next_cursor`` of the page before, together with the same filters. A malformed one is ignored, as in Flue.
        """
        count = page_limit(limit)
        position = self._position(cursor)
        statement = page_statement(
            status=bool(status),
            workflow=bool(workflow_name),
            after=position is not None,
            row_values=self._scope.dialect.row_value_ranges,
        )
        parameters = _page_parameters(status, workflow_name, count, position)
        if status and not status.isascii():
            return RunPage(runs=[])  # no run has it, and MySQL refuses to compare such a text with the column's
        rows = self._scope.read(lambda executor: executor.execute(statement, parameters).all())
        pointers = [pointer_of(row) for row in rows[:count]]
        more = len(rows) > count
        return RunPage.model_construct(
            runs=pointers, next_cursor=encode_run_cursor(pointers[-1].started_at, pointers[-1].run_id) if more else None
        )

    def record(
        self,
        workflow_name: str,
        *,
        input: Any = UNSET,
        run_id: str | None = None,
        trace_carrier: TraceCarrier | Mapping[str, Any] | None = None,
    ) -> RunRecorder:
        """A context manager that records its block as one run: the record, ``run_start``, what is emitted, ``run_end``, the outcome.

        ``with flue.runs.record("nightly", input=…) as run: run.emit({…}); run.result = …``. See :class:`RunRecorder`.

        Args:
            run_id: default a fresh ``run_<ULID>``.
        """
        return RunRecorder(self._scope, self, workflow_name, input=input, run_id=run_id, trace_carrier=trace_carrier)

    def recover(self, stale_before: int) -> builtins.list[str]:
        """Finish what dead processes left half done (spec/runs.md §4), and return the ids of the runs that were repaired.

        A run is stale when neither its start nor its latest event is at or after ``stale_before``. Of a stale run, the missing half is
        repaired: the record from the stream's ``run_end``, or the stream (``run_resume`` and ``run_end`` with an error) and then the
        record. Each run is repaired in a transaction of its own, under the lock that its stream's writers take, so two recoveries do
        not repeat each other, and a run that shows life meanwhile is left alone. Choose ``stale_before`` earlier than the longest
        silence of a live run: one that is recovered nevertheless has its stream closed under it, and its own end still wins the record.

        Args:
            stale_before: epoch ms.

        Raises:
            InvalidInputError: called on a unit or a bound unit.
        """
        return recover(self._scope, stale_before)

    def _one(self, statement: sa.Select[Any], run_id: str) -> sa.Row[Any] | None:
        parameters = {"of_run": require_storable(run_id, "run_id")}
        row = self._scope.read(lambda executor: executor.execute(statement, parameters).first())
        # MySQL also finds the run whose id has fewer blanks at its end.
        return row if row is not None and row.run_id == run_id else None

    def _position(self, cursor: str | None) -> RunCursor | None:
        """Where the page begins; None for what is no cursor, or not one of this database's."""
        position = decode_run_cursor(cursor)
        if position is not None:
            try:
                self._scope.dialect.check_key("started_at", position.started_at)
            except InvalidInputError:
                return None
        return position


def _page_parameters(status: str | None, workflow_name: str | None, count: int, position: RunCursor | None) -> dict[str, Any]:
    parameters: dict[str, Any] = {"fetch": count + 1}
    if status:
        parameters["of_status"] = require_storable(status, "status")
    if workflow_name:
        parameters["of_workflow"] = require_storable(workflow_name, "workflow_name")
    if position is not None:
        parameters |= {"after_started": position.started_at, "after_run": position.run_id}
    return parameters
