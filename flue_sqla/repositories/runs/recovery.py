"""Repairing what a dead process left of a run: half a record, half a stream, or neither ended (spec/runs.md §4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.errors import InvalidInputError
from flue_sqla.models.tables import event_streams, runs
from flue_sqla.records.run import Run
from flue_sqla.records.unset import UNSET
from flue_sqla.repositories.events import Events
from flue_sqla.repositories.events import statements as events_sql
from flue_sqla.repositories.per_dialect import PerDialect
from flue_sqla.repositories.runs.envelope import RUN_END_KEY, enveloped, run_end, run_resume
from flue_sqla.repositories.runs.listing import page_statement
from flue_sqla.repositories.runs.rows import LONGEST_DURATION_MS, RUN_COLUMNS, json_text, run_of
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.wire import canonical_json, format_timestamp, parse_json, parse_timestamp, run_path

__all__ = ["INTERRUPTED", "recover"]

INTERRUPTED: Final = {"name": "RunInterrupted", "message": "The process that ran this workflow ended before the run did."}

_BATCH: Final = 500
_LOOK_BACK: Final = 100
"""How many of the latest events are searched for the end of the run and for the highest index."""
_PREFIX: Final = run_path("")

_LOCKED_RUN = sa.select(*RUN_COLUMNS).where(runs.c.run_id == sa.bindparam("of_run", type_=sa.Text())).with_for_update()
_CREATE: PerDialect[Any] = PerDialect(lambda dialect: dialect.insert_ignore(runs))
_END = sa.update(runs).where(runs.c.run_id == sa.bindparam("of_run", type_=sa.Text()))
# Streams whose record is ended or missing. Only an open stream can be one, and of those a database has few.
_ORPHANS = (
    sa.select(event_streams.c.path)
    .select_from(event_streams.outerjoin(runs, runs.c.run_id == sa.func.substr(event_streams.c.path, len(_PREFIX) + 1)))
    .where(
        event_streams.c.closed == sa.false(),
        event_streams.c.path.startswith(_PREFIX, autoescape=True),
        event_streams.c.path > sa.bindparam("after_path", type_=sa.Text()),
        sa.or_(runs.c.run_id.is_(None), runs.c.status != "active"),
    )
    .order_by(event_streams.c.path)
    .limit(_BATCH)
)


def recover(scope: Scope, stale_before: int) -> list[str]:
    """See :meth:`Runs.recover`."""
    if scope.in_transaction:
        raise InvalidInputError("Runs are recovered one transaction each, so not in a unit.", remedy="Call it on the Flue itself.")
    candidates = [*_stale_records(scope, format_timestamp(stale_before)), *_orphaned_streams(scope)]
    repaired = []
    for run_id in dict.fromkeys(candidates):
        repair = _Repair(scope, run_id, stale_before)
        if scope.write(repair.run):
            repair.events.wake(repair.path)
            repaired.append(run_id)
    return repaired


def _stale_records(scope: Scope, before: str) -> Iterator[str]:
    statement = page_statement(status=True, workflow=False, after=True, row_values=scope.dialect.row_value_ranges)
    position = {"of_status": "active", "after_started": before, "after_run": "", "fetch": _BATCH}
    while True:
        parameters = dict(position)
        rows = scope.read(lambda executor, parameters=parameters: executor.execute(statement, parameters).all())  # type: ignore[misc]
        yield from (row.run_id for row in rows)
        if len(rows) < _BATCH:
            return
        position |= {"after_started": rows[-1].started_at, "after_run": rows[-1].run_id}


def _orphaned_streams(scope: Scope) -> Iterator[str]:
    after = ""
    while True:
        parameters = {"after_path": after}
        paths = scope.read(lambda executor, parameters=parameters: executor.execute(_ORPHANS, parameters).scalars().all())  # type: ignore[misc]
        yield from (path.removeprefix(_PREFIX) for path in paths)
        if len(paths) < _BATCH:
            return
        after = paths[-1]


@dataclass
class _Repair:
    """One run under repair, in one transaction that holds its stream and its record."""

    scope: Scope
    run_id: str
    stale_before: int

    def __post_init__(self) -> None:
        self.path = run_path(self.run_id)
        self.events = Events(self.scope)

    def run(self, executor: Executor) -> bool:
        """Repair what is missing; False when there is nothing to repair or the run shows life."""
        of_path = {"of_path": self.path}
        stream = executor.execute(events_sql.LOCKED_META, of_path).first()
        row = executor.execute(_LOCKED_RUN, {"of_run": self.run_id}).first()
        record = None if row is None else run_of(row)
        latest = _objects(executor.execute(events_sql.NEWEST, {**of_path, "fetch": _LOOK_BACK}).all())
        if self._alive(record, latest):
            return False
        end = next((event for event in latest if event.get("type") == "run_end"), None)
        ended = record is not None and record.status != "active"
        is_open = stream is not None and not stream.closed
        if ended and not is_open:
            return False
        if record is not None and ended and end is None:
            self._append_end(executor, latest, _end_of(record))
        elif end is None:
            end = self._interrupt(executor, record, latest, missing=stream is None, is_open=is_open)
        if end is not None and not ended:
            self._record_end(executor, record, end)
        executor.execute(events_sql.CLOSE, of_path)
        return True

    def _alive(self, record: Run | None, latest: list[dict[str, Any]]) -> bool:
        times = [record.started_at, record.ended_at] if record is not None else []
        times += [event.get("timestamp") for event in latest[:1]]
        return any(_time(text) >= self.stale_before for text in times)

    def _interrupt(
        self, executor: Executor, record: Run | None, latest: list[dict[str, Any]], *, missing: bool, is_open: bool
    ) -> dict[str, Any]:
        """The end that nobody wrote: as events where the stream takes them."""
        now = self.scope.clock.now()
        started_at = record.started_at if record is not None else _text(latest, "startedAt") or format_timestamp(now)
        duration = min(max(0, now - _time(started_at)), LONGEST_DURATION_MS)
        end = run_end(self.run_id, result=None, error=INTERRUPTED, is_error=True, duration_ms=duration)
        if missing:
            executor.execute(events_sql.CREATE(self.scope.dialect), {"of_path": self.path})
        if missing or is_open:
            workflow = record.workflow_name if record is not None else self._workflow_name(executor, latest)
            resume = run_resume(self.run_id, workflow or "", started_at)
            self.events.insert(executor, {"path": self.path, "data": canonical_json(self._enveloped(resume, latest, 1))})
            self._append_end(executor, latest, end, ahead=2)
        return {**end, "timestamp": format_timestamp(now)}

    def _append_end(self, executor: Executor, latest: list[dict[str, Any]], end: dict[str, Any], ahead: int = 1) -> None:
        data = canonical_json(self._enveloped(end, latest, ahead))
        self.events.insert(executor, {"path": self.path, "data": data, "event_key": RUN_END_KEY})

    def _enveloped(self, event: dict[str, Any], latest: list[dict[str, Any]], ahead: int) -> dict[str, Any]:
        highest = max((index for event in latest if isinstance(index := event.get("eventIndex"), int)), default=-1)
        return enveloped(event, self.run_id, highest + ahead, self.scope.clock.now())

    def _record_end(self, executor: Executor, record: Run | None, end: Mapping[str, Any]) -> None:
        """The record's outcome from the event; a missing record is made first, if the stream says of which workflow."""
        ended_at = end.get("timestamp")
        ended_at = ended_at if _time(ended_at) >= 0 else format_timestamp(self.scope.clock.now())
        if record is None:
            workflow = self._workflow_name(executor, [])
            if workflow is None:
                return
            values = {"run_id": self.run_id, "workflow_name": workflow, "status": "active", "started_at": ended_at}
            executor.execute(_CREATE(self.scope.dialect), values)
        is_error = bool(end.get("isError"))
        duration = end.get("durationMs")
        executor.execute(
            _END.values(
                status="errored" if is_error else "completed",
                ended_at=ended_at,
                is_error=is_error,
                duration_ms=min(duration, LONGEST_DURATION_MS) if isinstance(duration, int) and duration >= 0 else 0,
                result=json_text(UNSET if is_error else end.get("result")),
                error=json_text(end.get("error", UNSET)),
            ),
            {"of_run": self.run_id},
        )

    def _workflow_name(self, executor: Executor, latest: list[dict[str, Any]]) -> str | None:
        first = _objects(executor.execute(events_sql.OLDEST, {"of_path": self.path}).all())
        return _text([*first, *latest], "workflowName")


def _end_of(record: Run) -> dict[str, Any]:
    return run_end(
        record.run_id,
        result=None if record.result is UNSET else record.result,
        error=None if record.error is UNSET else record.error,
        is_error=bool(record.is_error),
        duration_ms=record.duration_ms or 0,
    )


def _objects(rows: Any) -> list[dict[str, Any]]:
    found = []
    for row in rows:
        try:
            event = parse_json(row.data)
        except ValueError:
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


def _text(events: list[dict[str, Any]], key: str) -> str | None:
    return next((value for event in events if isinstance(value := event.get(key), str)), None)


def _time(text: Any) -> int:
    """Epoch ms, or −1 for what is no time."""
    try:
        return parse_timestamp(text) if isinstance(text, str) else -1
    except ValueError:
        return -1
