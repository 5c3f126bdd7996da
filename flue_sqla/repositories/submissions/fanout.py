"""What becomes of the deliveries joined into a host when the host ends (spec/submissions.md §7.12)."""

from __future__ import annotations

import sqlalchemy as sa

from flue_sqla.models.tables import submissions
from flue_sqla.repositories.scope import Executor
from flue_sqla.repositories.submissions.rows import JOINED, JOINING, QUEUED, SETTLED

__all__ = ["fan_out", "fan_out_update"]

_s = submissions


def fan_out_update(error: sa.ColumnElement[str | None]) -> sa.Update:
    """One UPDATE that settles ``joined`` rows with the host's error and gives ``joining`` ones back to the queue.

    One statement with CASE on the row's own status: two would miss a child that moves from joining to joined in between. The status
    is assigned last, because MySQL evaluates assignments from left to right.
    """
    joined = _s.c.status == JOINED
    return (
        sa.update(_s)
        .where(_s.c.status.in_((JOINING, JOINED)))
        .ordered_values(
            (_s.c.settled_at, sa.case((joined, sa.bindparam("now", type_=sa.BigInteger())), else_=_s.c.settled_at)),
            (_s.c.error, sa.case((joined, error), else_=_s.c.error)),
            (_s.c.input_applied_at, sa.case((joined, _s.c.input_applied_at), else_=sa.null())),
            (_s.c.joined_into, sa.case((joined, _s.c.joined_into), else_=sa.null())),
            (_s.c.status, sa.case((joined, SETTLED), else_=QUEUED)),
        )
    )


_FAN_OUT = fan_out_update(sa.bindparam("message", type_=sa.Text())).where(_s.c.joined_into == sa.bindparam("host"))


def fan_out(executor: Executor, host_submission_id: str, *, now: int, error: str | None) -> int:
    """Move the children of a host that has just been settled in the same transaction; returns how many moved."""
    return executor.execute(_FAN_OUT, {"host": host_submission_id, "now": now, "message": error}).rowcount
