"""Holding a submission: readiness, the input mark, leases, requeue, release, replacement, aborts (spec/submissions.md §7.2 to §7.8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.models.tables import submissions
from flue_sqla.records.submission import Attempt, Durability, Lease, Submission
from flue_sqla.repositories.batching import AT_ONCE, in_batches
from flue_sqla.repositories.scope import Executor, Lost, Operation
from flue_sqla.repositories.submissions.base import SubmissionPart, Transition
from flue_sqla.repositories.submissions.claims import DEFAULT_MAX_ATTEMPTS, DEFAULT_TIMEOUT_MS
from flue_sqla.repositories.submissions.rows import JOINED, JOINING, QUEUED, RUNNING
from flue_sqla.wire import require_integer

__all__ = ["LEASE_MS", "OwnershipPart"]

LEASE_MS: Final = 30_000
"""How long a renewed lease lasts, in ms."""

_s = submissions
_ID = _s.c.submission_id == sa.bindparam("id")
_OWNED = sa.and_(_ID, _s.c.status == RUNNING, _s.c.attempt_id == sa.bindparam("attempt"))
_NOW = sa.bindparam("now", type_=sa.BigInteger())

_READY = Transition(
    sa.update(_s).where(_ID, _s.c.status == QUEUED).values(canonical_ready_at=sa.func.coalesce(_s.c.canonical_ready_at, _NOW))
)

_FIRST_TIME = _s.c.input_applied_at.is_(None)
# The budget is installed with the first mark only. Assigned before input_applied_at, since MySQL evaluates from left to right.
_APPLY = (
    sa.update(_s)
    .where(_OWNED)
    .ordered_values(
        (_s.c.max_attempts, sa.case((_FIRST_TIME, sa.bindparam("budget", type_=sa.Integer())), else_=_s.c.max_attempts)),
        (_s.c.timeout_at, sa.case((_FIRST_TIME, sa.bindparam("deadline", type_=sa.BigInteger())), else_=_s.c.timeout_at)),
        (_s.c.input_applied_at, sa.func.coalesce(_s.c.input_applied_at, _NOW)),
    )
)

_CLEARED = {"status": QUEUED, "attempt_id": sa.null(), "input_applied_at": sa.null(), "started_at": sa.null(), "owner_id": sa.null()}
_REQUEUE = sa.update(_s).where(_OWNED).values(**_CLEARED, lease_expires_at=0)
_RELEASE = sa.update(_s).where(_OWNED).values(**_CLEARED, lease_expires_at=0, attempt_count=_s.c.attempt_count - 1)
_REVERT_JOINING = (
    sa.update(_s)
    .where(_s.c.joined_into == sa.bindparam("host"), _s.c.status == JOINING)
    .values(status=QUEUED, joined_into=sa.null(), input_applied_at=sa.null())
)

_REPLACED = {"attempt_id": sa.bindparam("next_attempt", type_=sa.Text()), "started_at": _NOW, "attempt_count": _s.c.attempt_count + 1}
_REPLACE = Transition(sa.update(_s).where(_OWNED).values(_REPLACED))
_REPLACE_WITH_LEASE = Transition(
    sa.update(_s)
    .where(_OWNED)
    .values({**_REPLACED, "owner_id": sa.bindparam("owner", type_=sa.Text()), "lease_expires_at": sa.bindparam("lease")})
)

_RENEW = (
    sa.update(_s)
    .where(
        _s.c.submission_id.in_(sa.bindparam("ids", expanding=True)),
        _s.c.status == RUNNING,
        _s.c.owner_id == sa.bindparam("owner"),
    )
    .values(lease_expires_at=sa.bindparam("until"))
)

_ABORTABLE = sa.and_(_s.c.session_key == sa.bindparam("lane"), _s.c.status.in_((QUEUED, RUNNING, JOINING, JOINED)))
_ABORT = sa.update(_s).where(_ABORTABLE).values(abort_requested_at=sa.func.coalesce(_s.c.abort_requested_at, _NOW))
_ABORT_RETURNING = _ABORT.returning(_s.c.submission_id)
_ABORTED = sa.select(_s.c.submission_id).where(_ABORTABLE).with_for_update()


class OwnershipPart(SubmissionPart):
    """Transitions of a submission that somebody owns or waits for."""

    def mark_ready(self, submission_id: str) -> Submission | None:
        """Declare that the conversation of a queued submission is materialized, so that it may run (spec/submissions.md §7.2).

        Idempotent: the first time stays. None when it is missing or not queued.
        """
        row = self._run(_READY, {"id": self._key("submission_id", submission_id), "now": self._now()})
        if row is not None:
            self._wake_queue()
        return row

    def mark_input_applied(self, attempt: Attempt, durability: Durability | None = None) -> bool:
        """Record that the budget of this attempt is installed; the first call sets ``durability``, later ones change nothing.

        Returns:
            False when the submission is not running under ``attempt``.
        """
        now = self._now()
        budget = durability or Durability(max_attempts=DEFAULT_MAX_ATTEMPTS, timeout_at=now + DEFAULT_TIMEOUT_MS)
        parameters = {
            **self._gate(attempt),
            "now": now,
            "budget": require_integer(budget.max_attempts, "max_attempts", bits=31),
            "deadline": require_integer(budget.timeout_at, "timeout_at"),
        }
        return self._scope.single(lambda executor: executor.execute(_APPLY, parameters).rowcount == 1)

    def requeue(self, attempt: Attempt) -> bool:
        """Give a running submission back to the queue; counters, deadline and abort flag stay (spec/submissions.md §7.5).

        Returns:
            False when it is not running under ``attempt``.

        Raises:
            OutcomeUnknown: the answer was lost; the attempt is forgotten by then, so nothing can tell.
        """
        gate = self._gate(attempt)
        done = self._scope.single(lambda executor: executor.execute(_REQUEUE, gate).rowcount == 1, lost=Lost.UNKNOWN)
        if done:
            self._wake_queue()
        return done

    def release(self, attempt: Attempt) -> bool:
        """As :meth:`requeue`, and the attempt does not count: for a worker that stops at a boundary of its own free will.

        Joined children stay joined; joining ones go back to the queue.

        Returns:
            False when it is not running under ``attempt``.
        """
        gate = self._gate(attempt)

        def operation(executor: Executor) -> bool:
            if executor.execute(_RELEASE, gate).rowcount != 1:
                return False
            executor.execute(_REVERT_JOINING, {"host": attempt.submission_id})
            return True

        done = self._scope.write(operation, lost=Lost.UNKNOWN)
        if done:
            self._wake_queue()
        return done

    def replace_attempt(self, attempt: Attempt, next_attempt_id: str, lease: Lease | None = None) -> Submission | None:
        """Fence ``attempt`` and run the submission under ``next_attempt_id`` (spec/submissions.md §7.6).

        Returns:
            The running submission; None when it is not running under ``attempt``.
        """
        self._key("attempt_id", next_attempt_id)
        parameters: dict[str, Any] = {**self._gate(attempt), "next_attempt": next_attempt_id, "now": self._now()}
        if lease is not None:
            until = require_integer(lease.lease_expires_at, "lease_expires_at")
            parameters |= {"owner": self._key("owner_id", lease.owner_id), "lease": until}

        def arrived(executor: Executor) -> Submission | None:
            row = self._row(executor, attempt.submission_id)
            ours = row is not None and row.values["status"] == "running" and row.values["attempt_id"] == next_attempt_id
            return self._parsed(row) if ours else None

        return self._run(_REPLACE if lease is None else _REPLACE_WITH_LEASE, parameters, confirm=arrived)

    def renew_leases(self, owner_id: str, submission_ids: Sequence[str], *, lease_expires_at: int | None = None) -> None:
        """Extend the leases of the listed submissions that are running under ``owner_id``; skip the others silently.

        They end 30 s from now unless ``lease_expires_at`` (epoch ms) says otherwise. One statement, or for a long list one transaction.
        """
        if not submission_ids:
            return
        until = self._now() + LEASE_MS if lease_expires_at is None else require_integer(lease_expires_at, "lease_expires_at")
        ids = [self._key("submission_id", submission_id) for submission_id in submission_ids]
        parameters = {"owner": self._key("owner_id", owner_id), "until": until}

        def operation(executor: Executor) -> None:
            for some in in_batches(ids):
                executor.execute(_RENEW, {**parameters, "ids": some}).close()

        run = self._scope.single if len(ids) <= AT_ONCE else self._scope.write
        run(operation)

    def request_abort(self, session_key: str) -> list[str]:
        """Ask for everything unsettled in a session to be aborted; the first time of asking stays (spec/submissions.md §7.7).

        Returns:
            The ids of all queued, running, joining and joined submissions of the session, in no particular order.
        """
        parameters = {"lane": self._key("session_key", session_key), "now": self._now()}
        if self._dialect.update_returning:
            ids = self._scope.single(lambda executor: list(executor.execute(_ABORT_RETURNING, parameters).scalars()))
        else:
            ids = self._scope.write(lambda executor: self._abort_locked(executor, parameters))
        if ids:
            self._wake_queue()
        return ids

    def _abort_locked(self, executor: Executor, parameters: dict[str, Any]) -> list[str]:
        ids = list(executor.execute(_ABORTED, {"lane": parameters["lane"]}).scalars())
        if ids:
            executor.execute(_ABORT, parameters)
        return ids

    def _run(
        self, transition: Transition, parameters: dict[str, Any], confirm: Operation[Submission | None] | None = None
    ) -> Submission | None:
        def operation(executor: Executor) -> Submission | None:
            return self._parsed(transition.run(self, executor, parameters))

        if self._dialect.single_statement:
            return self._scope.single(operation, confirm=confirm)
        return self._scope.write(operation, confirm=confirm)
