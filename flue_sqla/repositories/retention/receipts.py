"""Receipts that have been kept long enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.models.tables import dispatch_receipts
from flue_sqla.repositories.retention.plan import Plan, Tally
from flue_sqla.repositories.scope import Executor, Scope

__all__ = ["count_receipts", "prune_receipts"]

_d = dispatch_receipts.c
# Two conditions, each with its index: ours say until when they are kept, other writers' are judged by the submission's own time.
_EXPIRED: Final = (
    _d.kept_until <= sa.bindparam("now", type_=sa.BigInteger()),
    sa.and_(_d.kept_until.is_(None), _d.accepted_at <= sa.bindparam("oldest", type_=sa.BigInteger())),
)
_FETCH = sa.bindparam("fetch", type_=sa.Integer())
_PAGES = tuple(sa.select(_d.dispatch_id).where(expired).limit(_FETCH) for expired in _EXPIRED)
_DELETES = tuple(
    sa.delete(dispatch_receipts).where(_d.dispatch_id.in_(sa.bindparam("of_receipts", expanding=True)), expired) for expired in _EXPIRED
)
_COUNT = sa.select(sa.func.count()).select_from(dispatch_receipts).where(sa.or_(*_EXPIRED))


def prune_receipts(scope: Scope, plan: Plan, tally: Tally) -> None:
    """Remove expired receipts batch by batch."""
    total = tally.counted(lambda: scope.read(lambda executor: count_receipts(executor, plan))[dispatch_receipts.name])
    tally.add({dispatch_receipts.name: 0})
    done = 0
    for page, delete in zip(_PAGES, _DELETES, strict=True):
        while ids := scope.read(lambda executor, page=page: _ids(executor, page, plan)):  # type: ignore[misc]
            parameters = {**_times(plan), "of_receipts": list(ids)}
            gone = scope.single(lambda executor, s=delete, p=parameters: executor.execute(s, p).rowcount)  # type: ignore[misc]
            tally.add({dispatch_receipts.name: gone})
            done += max(0, gone)
            tally.tell("receipts", done, total)
            if len(ids) < plan.batch_size:
                break


def count_receipts(executor: Executor, plan: Plan) -> dict[str, int]:
    """How many receipts have expired, under the name of their table."""
    return {dispatch_receipts.name: int(executor.execute(_COUNT, _times(plan)).scalar_one())}


def _ids(executor: Executor, page: sa.Select[Any], plan: Plan) -> Sequence[str]:
    return executor.execute(page, {**_times(plan), "fetch": plan.batch_size}).scalars().all()


def _times(plan: Plan) -> dict[str, int]:
    return {"now": plan.now, "oldest": plan.now - plan.receipts_for}
