"""Settled submissions that are old enough and that nothing alive refers to."""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa

from flue_sqla.models.tables import dispatch_receipts, submissions
from flue_sqla.repositories.retention.plan import Plan, Tally
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.repositories.submission_removal import dependents, leaves_receipt, remove_submissions
from flue_sqla.repositories.submissions.rows import SETTLED, unsettled

__all__ = ["count_submissions", "prune_submissions"]

_s = submissions.c
_CUTOFF = sa.bindparam("cutoff", type_=sa.BigInteger())


def _prunable(keep_last: bool) -> sa.ColumnElement[bool]:
    """Settled before the cutoff; neither the host of a live child nor the child of a live host; not among the last of its session."""
    child, host, newer = (submissions.alias(name) for name in ("child", "host", "newer"))
    conditions = [
        _s.status == SETTLED,
        _s.settled_at < _CUTOFF,
        ~sa.exists().where(child.c.joined_into == _s.submission_id, unsettled(child)),
        ~sa.exists().where(host.c.submission_id == _s.joined_into, unsettled(host)),
    ]
    if keep_last:
        last_kept = (
            sa.select(newer.c.sequence)
            .where(newer.c.session_key == _s.session_key, newer.c.status == SETTLED)
            .order_by(newer.c.sequence.desc())
            .limit(1)
            .offset(sa.bindparam("skip_kept", type_=sa.Integer()))
            .correlate(submissions)
            .scalar_subquery()
        )
        conditions.append(_s.sequence < last_kept)
    return sa.and_(*conditions)


@cache
def _batch(*, keep_last: bool, row_values: bool, skip_locked: bool) -> sa.Select[Any]:
    """The next candidates in the order of the index, locked against a second prune, which takes others meanwhile."""
    settled_at, sequence = (sa.bindparam(name, type_=sa.BigInteger()) for name in ("after_settled", "after_sequence"))
    if row_values:
        after: sa.ColumnElement[bool] = sa.tuple_(_s.settled_at, _s.sequence) > sa.tuple_(settled_at, sequence)
    else:
        after = sa.or_(_s.settled_at > settled_at, sa.and_(_s.settled_at == settled_at, _s.sequence > sequence))
    return (
        sa.select(_s.submission_id, _s.settled_at, _s.sequence)
        .where(_prunable(keep_last), after)
        .order_by(_s.settled_at, _s.sequence)
        .limit(sa.bindparam("fetch", type_=sa.Integer()))
        .with_for_update(skip_locked=skip_locked)
    )


def prune_submissions(scope: Scope, plan: Plan, tally: Tally) -> None:
    """Remove them batch by batch, each with its receipts in one transaction.

    MariaDB locks a row more than a batch has, and two prunes could both pass over what the other one held so: where locked rows are
    skipped, passes are repeated until one finds nothing.
    """
    tally.add(dict.fromkeys([table.name for table, _ in dependents([])] + [submissions.name], 0))
    total = tally.counted(lambda: scope.read(lambda executor: _count_rows(executor, plan)))
    statement = _batch(keep_last=plan.keep_last > 0, row_values=scope.dialect.row_value_ranges, skip_locked=scope.dialect.skip_locked)
    start = {"after_settled": -1, "after_sequence": -1}
    parameters = {**_parameters(plan), **start, "fetch": plan.batch_size}
    done = done_before = 0

    def batch(executor: Executor) -> tuple[sa.Row[Any] | None, int, dict[str, int]]:
        rows = executor.execute(statement, parameters).all()
        if not rows:
            return None, 0, {}
        ids = [row.submission_id for row in rows]
        return rows[-1], len(rows), remove_submissions(executor, scope.dialect, ids, kept_until=plan.now + plan.receipts_for)

    while True:
        last, count, counts = scope.write(batch)
        if last is not None:
            tally.add(counts)
            done += count
            tally.tell("submissions", done, total)
            if count == plan.batch_size:
                parameters |= {"after_settled": last.settled_at, "after_sequence": last.sequence}
                continue
        if done == done_before or not scope.dialect.skip_locked:
            return
        done_before = done
        parameters |= start


def count_submissions(executor: Executor, plan: Plan) -> dict[str, int]:
    """What :func:`prune_submissions` would remove, by table."""
    parameters = _parameters(plan)
    ids = sa.select(_s.submission_id).where(_prunable(plan.keep_last > 0))
    counts = {submissions.name: _count_rows(executor, plan)}
    for table, condition in dependents(ids):
        statement = sa.select(sa.func.count()).select_from(table).where(condition)
        counts[table.name] = int(executor.execute(statement, parameters).scalar_one())
    receipt = sa.select(sa.func.count()).select_from(submissions).where(_prunable(plan.keep_last > 0), leaves_receipt())
    existing = sa.exists().where(dispatch_receipts.c.dispatch_id == _s.submission_id)
    counts["receipts"] = int(executor.execute(receipt.where(~existing), parameters).scalar_one())
    return counts


def _count_rows(executor: Executor, plan: Plan) -> int:
    statement = sa.select(sa.func.count()).select_from(submissions).where(_prunable(plan.keep_last > 0))
    return int(executor.execute(statement, _parameters(plan)).scalar_one())


def _parameters(plan: Plan) -> dict[str, Any]:
    parameters: dict[str, Any] = {"cutoff": plan.cutoff}
    if plan.keep_last:
        parameters["skip_kept"] = plan.keep_last - 1
    return parameters
