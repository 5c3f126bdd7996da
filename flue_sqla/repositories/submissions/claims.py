"""Claiming one named submission (spec/submissions.md §7.3)."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.errors import FlueError
from flue_sqla.models.tables import submissions
from flue_sqla.records.submission import Submission
from flue_sqla.repositories.scope import Executor
from flue_sqla.repositories.submissions.base import SubmissionPart
from flue_sqla.repositories.submissions.queries import is_head
from flue_sqla.repositories.submissions.rows import QUEUED, RUNNING, StoredRow, columns, earlier_unsettled, grouped, with_chunks
from flue_sqla.wire import require_integer

__all__ = ["DEFAULT_MAX_ATTEMPTS", "DEFAULT_TIMEOUT_MS", "ClaimPart", "claim_values"]

DEFAULT_MAX_ATTEMPTS: Final = 10
DEFAULT_TIMEOUT_MS: Final = 3_600_000

_s = submissions


def claim_values(attempt_id: sa.ColumnElement[str]) -> dict[str, Any]:
    """What a claim writes: a fresh budget, and a deadline unless an earlier claim has set one."""
    return {
        "status": RUNNING,
        "attempt_id": attempt_id,
        "started_at": sa.bindparam("now", type_=sa.BigInteger()),
        "attempt_count": _s.c.attempt_count + 1,
        "max_attempts": sa.literal_column(str(DEFAULT_MAX_ATTEMPTS), sa.Integer()),
        "timeout_at": sa.case((_s.c.timeout_at == 0, sa.bindparam("deadline", type_=sa.BigInteger())), else_=_s.c.timeout_at),
        "owner_id": sa.bindparam("owner", type_=sa.Text()),
        "lease_expires_at": sa.bindparam("lease", type_=sa.BigInteger()),
    }


def _one_statement() -> sa.Select[Any]:
    before = _s.alias("before")
    old_budget = sa.select(before.c.max_attempts).where(before.c.sequence == _s.c.sequence).scalar_subquery().label("old_max_attempts")
    claimed = (
        sa.update(_s)
        .where(_s.c.submission_id == sa.bindparam("id"), _s.c.status == QUEUED, _s.c.canonical_ready_at.is_not(None), is_head(_s))
        .values(claim_values(sa.bindparam("attempt", type_=sa.Text())))
        .returning(*columns(), old_budget)
        .cte("claimed")
    )
    return with_chunks(claimed).add_columns(claimed.c.old_max_attempts)


_CLAIM = _one_statement()

_BUDGET = sa.select(_s.c.max_attempts).where(_s.c.submission_id == sa.bindparam("id"))
_HEAD = sa.select(_s.c.session_key).where(_s.c.submission_id == sa.bindparam("id"), _s.c.status == QUEUED)
_LOCKED = (
    sa.select(_s.c.sequence)
    .where(_s.c.submission_id == sa.bindparam("id"), _s.c.status == QUEUED, _s.c.canonical_ready_at.is_not(None))
    .with_for_update()
)
_EARLIER = (
    sa.select(_s.c.sequence)
    .where(earlier_unsettled(_s, sa.bindparam("lane"), sa.bindparam("row_sequence", type_=sa.BigInteger())))
    .limit(1)
    .with_for_update()
)
_TAKE = (
    sa.update(_s)
    .where(_s.c.sequence == sa.bindparam("row_sequence"), _s.c.status == QUEUED)
    .values(claim_values(sa.bindparam("attempt", type_=sa.Text())))
)
_UNDO = (
    sa.update(_s)
    .where(_s.c.submission_id == sa.bindparam("id"), _s.c.status == RUNNING, _s.c.attempt_id == sa.bindparam("attempt"))
    .values(
        status=QUEUED,
        attempt_id=sa.null(),
        started_at=sa.null(),
        owner_id=sa.null(),
        lease_expires_at=0,
        attempt_count=_s.c.attempt_count - 1,
        max_attempts=sa.bindparam("old_max_attempts"),
        timeout_at=sa.case((_s.c.timeout_at == sa.bindparam("deadline", type_=sa.BigInteger()), 0), else_=_s.c.timeout_at),
    )
)
_OURS = with_chunks(_s).where(_s.c.submission_id == sa.bindparam("id"), _s.c.status == RUNNING, _s.c.attempt_id == sa.bindparam("attempt"))


class ClaimPart(SubmissionPart):
    """Claims."""

    def claim(self, submission_id: str, *, attempt_id: str, owner_id: str, lease_expires_at: int) -> Submission | None:
        """Take a runnable head for ``attempt_id``, held by ``owner_id`` until ``lease_expires_at`` (epoch ms).

        Returns:
            The running submission; None when it is not queued, not ready, or not the head of its session.

        Raises:
            MalformedRowError: the row breaks the contract; it is queued as before.
        """
        now = self._now()
        parameters = {
            "id": self._key("submission_id", submission_id),
            "attempt": self._key("attempt_id", attempt_id),
            "owner": self._key("owner_id", owner_id),
            "lease": require_integer(lease_expires_at, "lease_expires_at"),
            "now": now,
            "deadline": now + DEFAULT_TIMEOUT_MS,
        }
        if self._dialect.single_statement:
            return self._claim_alone(parameters)
        return self._scope.write(
            lambda executor: self._claim_parsed(executor, parameters),
            confirm=lambda executor: self._parsed(self._ours(executor, parameters)),
        )

    def _claim_alone(self, parameters: dict[str, Any]) -> Submission | None:
        old_budget: list[int] = []

        def claimed(executor: Executor) -> StoredRow | None:
            result = executor.execute(_CLAIM, parameters).all()
            if not result:
                return None
            old_budget[:] = [result[0].old_max_attempts]
            return grouped(result)[0]

        row = self._scope.single(claimed, confirm=lambda executor: self._ours(executor, parameters))
        try:
            return self._parsed(row)
        except FlueError:
            # The claim is committed already: give the head back exactly as it was, unless somebody has fenced us since.
            undo = {**parameters, "old_max_attempts": old_budget[0] if old_budget else DEFAULT_MAX_ATTEMPTS}
            self._scope.single(lambda executor: executor.execute(_UNDO, _only(_UNDO_NAMES, undo)))
            raise

    def _claim_parsed(self, executor: Executor, parameters: dict[str, Any]) -> Submission | None:
        old_budget = executor.execute(_BUDGET, {"id": parameters["id"]}).scalar() if self._scope.in_transaction else None
        row = self._claim_locked(executor, parameters)
        try:
            return self._parsed(row)
        except FlueError:
            if self._scope.in_transaction:  # somebody else commits, perhaps all the same; a transaction of our own is rolled back
                executor.execute(_UNDO, _only(_UNDO_NAMES, {**parameters, "old_max_attempts": old_budget}))
            raise

    def _claim_locked(self, executor: Executor, parameters: dict[str, Any]) -> StoredRow | None:
        lane = executor.execute(_HEAD, {"id": parameters["id"]}).scalar()
        if lane is None:
            return None
        if self._dialect.lane_locks:
            self._dialect.lock_session(executor, lane)
        sequence = executor.execute(_LOCKED, {"id": parameters["id"]}).scalar()
        if sequence is None:
            return None
        if executor.execute(_EARLIER, {"lane": lane, "row_sequence": sequence}).first() is not None:
            return None
        taken = {**parameters, "row_sequence": sequence}
        taken.pop("id")
        if executor.execute(_TAKE, taken).rowcount != 1:
            return None
        return self._row(executor, parameters["id"], newest=self._scope.in_transaction)

    def _ours(self, executor: Executor, parameters: dict[str, Any]) -> StoredRow | None:
        rows = grouped(executor.execute(_OURS, _only(("id", "attempt"), parameters)))
        return rows[0] if rows else None


_UNDO_NAMES = ("id", "attempt", "old_max_attempts", "deadline")


def _only(names: tuple[str, ...], parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: parameters[name] for name in names}
