"""Ended runs with their event streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.models.tables import artifacts, event_entries, event_streams, runs
from flue_sqla.repositories.retention.plan import Plan, Tally
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.wire import format_timestamp, run_path

__all__ = ["RemoveArtifact", "count_runs", "prune_runs", "trim_events"]

RemoveArtifact = Callable[[str, str], object]
"""Removes an artifact by tenant and id, bytes included."""

_ENDED: Final = ("completed", "errored")
_LONG: Final = 10_000
"""Events that one transaction deletes at most."""

_r = runs.c
_IDS: sa.BindParameter[Any] = sa.bindparam("of_runs", expanding=True)
_PATHS: sa.BindParameter[Any] = sa.bindparam("of_paths", expanding=True)
_PATH = sa.bindparam("of_path", type_=sa.Text())


def _prunable(keep_last: bool, status: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    conditions = [status, _r.ended_at < sa.bindparam("cutoff", type_=sa.Text())]
    if keep_last:
        newer = runs.alias("newer")
        last_kept = (
            sa.select(newer.c.started_at)
            .where(newer.c.workflow_name == _r.workflow_name, newer.c.status.in_(_ENDED))
            .order_by(newer.c.started_at.desc(), newer.c.run_id.desc())
            .limit(1)
            .offset(sa.bindparam("skip_kept", type_=sa.Integer()))
            .correlate(runs)
            .scalar_subquery()
        )
        # Runs that started in the same millisecond as the last one kept are kept too.
        conditions.append(_r.started_at < last_kept)
    return sa.and_(*conditions)


@cache
def _page(*, keep_last: bool, row_values: bool) -> sa.Select[Any]:
    """The next candidates of one status, in the order of the index."""
    ended_at, run_id = (sa.bindparam(name, type_=sa.Text()) for name in ("after_ended", "after_run"))
    if row_values:
        after: sa.ColumnElement[bool] = sa.tuple_(_r.ended_at, _r.run_id) > sa.tuple_(ended_at, run_id)
    else:
        after = sa.or_(_r.ended_at > ended_at, sa.and_(_r.ended_at == ended_at, _r.run_id > run_id))
    return (
        sa.select(_r.run_id, _r.ended_at)
        .where(_prunable(keep_last, _r.status == sa.bindparam("of_status", type_=sa.Text())), after)
        .order_by(_r.ended_at, _r.run_id)
        .limit(sa.bindparam("fetch", type_=sa.Integer()))
    )


@cache
def _held(*, keep_last: bool, skip_locked: bool) -> sa.Select[Any]:
    """Of these, the ones that are still to go, locked against a second prune and a late end."""
    still = _prunable(keep_last, _r.status.in_(_ENDED))
    return sa.select(_r.run_id).where(_r.run_id.in_(_IDS), still).with_for_update(skip_locked=skip_locked)


_LENGTHS = sa.select(event_streams.c.path, event_streams.c.next_offset).where(
    event_streams.c.path.in_(_PATHS), event_streams.c.next_offset > _LONG
)
_TRIM = sa.delete(event_entries).where(event_entries.c.path == _PATH, event_entries.c.seq < sa.bindparam("below", type_=sa.BigInteger()))
_DELETES: Final = (
    (event_entries.name, sa.delete(event_entries).where(event_entries.c.path.in_(_PATHS))),
    (event_streams.name, sa.delete(event_streams).where(event_streams.c.path.in_(_PATHS))),
)
_DELETE = sa.delete(runs).where(_r.run_id.in_(_IDS))
_ARTIFACTS = sa.select(artifacts.c.tenant, artifacts.c.id).where(artifacts.c.run_id.in_(_IDS))


def prune_runs(scope: Scope, plan: Plan, tally: Tally, remove_artifact: RemoveArtifact | None) -> None:
    """Remove them batch by batch; a run's record goes last and in one transaction with what is left of its stream."""
    tally.add({event_entries.name: 0, event_streams.name: 0, runs.name: 0})
    total = tally.counted(lambda: scope.read(lambda executor: _count_runs(executor, plan)))
    statement = _page(keep_last=plan.keep_last > 0, row_values=scope.dialect.row_value_ranges)
    done = 0
    for status in _ENDED:
        parameters = {**_parameters(plan), "of_status": status, "after_ended": "", "after_run": "", "fetch": plan.batch_size}
        while True:
            now = dict(parameters)
            rows = scope.read(lambda executor, now=now: executor.execute(statement, now).all())  # type: ignore[misc]
            if not rows:
                break
            ids = [row.run_id for row in rows]
            if remove_artifact is not None:
                tally.add({artifacts.name: _remove_artifacts(scope, ids, remove_artifact)})
            counts = _remove(scope, plan, ids)
            tally.add(counts)
            done += counts.get(runs.name, 0)
            tally.tell("runs", done, total)
            parameters |= {"after_ended": rows[-1].ended_at, "after_run": rows[-1].run_id}


def count_runs(executor: Executor, plan: Plan, *, with_artifacts: bool) -> dict[str, int]:
    """What :func:`prune_runs` would remove, by table."""
    counts = _count(executor, plan)
    if with_artifacts:
        ids = sa.select(_r.run_id).where(_prunable(plan.keep_last > 0, _r.status.in_(_ENDED)))
        owned = sa.select(sa.func.count()).select_from(artifacts).where(artifacts.c.run_id.in_(ids))
        counts[artifacts.name] = int(executor.execute(owned, _parameters(plan)).scalar_one())
    return counts


def trim_events(scope: Scope, paths: Sequence[str], still_going: Callable[[Executor, str], bool]) -> int:
    """Delete the events of long streams in transactions of 10,000, each after another look; returns how many went."""
    long = scope.read(lambda executor: executor.execute(_LENGTHS, {"of_paths": list(paths)}).all())

    def trim(executor: Executor, path: str, below: int) -> int:
        if not still_going(executor, path):
            return 0
        return max(0, executor.execute(_TRIM, {"of_path": path, "below": below}).rowcount)

    steps = [(path, below) for path, length in map(tuple, long) for below in range(_LONG, length + 1, _LONG)]
    return sum(scope.write(partial(trim, path=path, below=below)) for path, below in steps)


def _remove(scope: Scope, plan: Plan, ids: Sequence[str]) -> dict[str, int]:
    held = _held(keep_last=plan.keep_last > 0, skip_locked=scope.dialect.skip_locked)

    def still_going(executor: Executor, path: str) -> bool:
        run_id = path.removeprefix(run_path(""))
        return executor.execute(held, {**_parameters(plan), "of_runs": [run_id]}).first() is not None

    trimmed = trim_events(scope, [run_path(run_id) for run_id in ids], still_going)

    def operation(executor: Executor) -> dict[str, int]:
        going = executor.execute(held, {**_parameters(plan), "of_runs": list(ids)}).scalars().all()
        if not going:
            return {}
        paths = {"of_paths": [run_path(run_id) for run_id in going]}
        counts = {table: executor.execute(statement, paths).rowcount for table, statement in _DELETES}
        return {**counts, runs.name: executor.execute(_DELETE, {"of_runs": list(going)}).rowcount}

    counts = scope.write(operation)
    if trimmed:
        counts[event_entries.name] = counts.get(event_entries.name, 0) + trimmed
    return counts


def _remove_artifacts(scope: Scope, ids: Sequence[str], remove_artifact: RemoveArtifact) -> int:
    rows = scope.read(lambda executor: executor.execute(_ARTIFACTS, {"of_runs": list(ids)}).all())
    for row in rows:
        remove_artifact(row.tenant, row.id)
    return len(rows)


def _count(executor: Executor, plan: Plan) -> dict[str, int]:
    ended = _prunable(plan.keep_last > 0, _r.status.in_(_ENDED))
    paths = sa.select(sa.literal(run_path("")) + _r.run_id).where(ended)
    statements = {
        event_entries.name: sa.select(sa.func.count()).select_from(event_entries).where(event_entries.c.path.in_(paths)),
        event_streams.name: sa.select(sa.func.count()).select_from(event_streams).where(event_streams.c.path.in_(paths)),
    }
    counts = {table: int(executor.execute(statement, _parameters(plan)).scalar_one()) for table, statement in statements.items()}
    return {**counts, runs.name: _count_runs(executor, plan)}


def _count_runs(executor: Executor, plan: Plan) -> int:
    ended = _prunable(plan.keep_last > 0, _r.status.in_(_ENDED))
    return int(executor.execute(sa.select(sa.func.count()).select_from(runs).where(ended), _parameters(plan)).scalar_one())


def _parameters(plan: Plan) -> dict[str, Any]:
    parameters: dict[str, Any] = {"cutoff": format_timestamp(plan.cutoff or 0)}
    if plan.keep_last:
        parameters["skip_kept"] = plan.keep_last - 1
    return parameters
