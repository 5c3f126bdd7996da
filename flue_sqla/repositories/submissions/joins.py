"""Deliveries that arrive while their session is busy join the running response (spec/submissions.md §7.13)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from flue_sqla.errors import FlueError
from flue_sqla.models.tables import submission_chunks, submissions
from flue_sqla.records.submission import Attempt, Submission
from flue_sqla.repositories.batching import in_batches
from flue_sqla.repositories.scope import Executor, Lost, Operation
from flue_sqla.repositories.submissions.base import SubmissionPart
from flue_sqla.repositories.submissions.fanout import fan_out
from flue_sqla.repositories.submissions.images import Chunk
from flue_sqla.repositories.submissions.rows import JOINED, JOINING, QUEUED, RUNNING, SETTLED, StoredRow, columns, parse

__all__ = ["JoinPart"]

_PAGE = 64

_s = submissions
_HOST_RUNS = sa.and_(
    _s.c.submission_id == sa.bindparam("host", type_=sa.Text()),
    _s.c.status == RUNNING,
    _s.c.attempt_id == sa.bindparam("attempt", type_=sa.Text()),
)
_LANE = sa.select(_s.c.session_key).where(_HOST_RUNS)
# Changes nothing but the version of the host's row: a settlement that waits for us notices that its snapshot is old.
_TOUCH_HOST = sa.update(_s).where(_HOST_RUNS).values(attempt_id=_s.c.attempt_id)
_LOCK_HOST = _LANE.with_for_update()
_QUEUED_PAGE = (
    sa.select(*columns())
    .where(_s.c.session_key == sa.bindparam("lane"), _s.c.status == QUEUED, _s.c.sequence > sa.bindparam("after"))
    .order_by(_s.c.sequence)
    .limit(_PAGE)
    .with_for_update()
)
_CHUNKS = sa.select(submission_chunks).where(submission_chunks.c.submission_id.in_(sa.bindparam("ids", expanding=True)))
_NEWEST_CHUNKS = _CHUNKS.with_for_update(read=True)
"""Also in a host's transaction whose snapshot is older than the rows that the page has locked."""
_JOIN = (
    sa.update(_s)
    .where(_s.c.sequence.in_(sa.bindparam("sequences", expanding=True)), _s.c.status == QUEUED)
    .values(status=JOINING, joined_into=sa.bindparam("host"))
)

_OURS = sa.and_(_s.c.submission_id == sa.bindparam("id", type_=sa.Text()), _s.c.status == JOINING)
_FINALIZED = {"status": JOINED, "input_applied_at": sa.func.coalesce(_s.c.input_applied_at, sa.bindparam("now", type_=sa.BigInteger()))}
_REVERTED = {"status": QUEUED, "joined_into": sa.null(), "input_applied_at": sa.null()}


def _move(values: dict[str, Any], *, alone: bool) -> sa.Update:
    if not alone:
        return sa.update(_s).where(_OURS, _s.c.joined_into == sa.bindparam("host")).values(values)
    # The host is locked first, in the order of the settlement; its newest attempt decides.
    host = _s.alias("host")
    locked = (
        sa.select(host.c.submission_id)
        .where(
            host.c.submission_id == sa.bindparam("host", type_=sa.Text()),
            host.c.status == RUNNING,
            host.c.attempt_id == sa.bindparam("attempt", type_=sa.Text()),
        )
        .with_for_update()
        .cte("locked")
    )
    return sa.update(_s).where(_OURS, _s.c.joined_into.in_(sa.select(locked.c.submission_id))).values(values)


_MANY = sa.and_(_s.c.submission_id.in_(sa.bindparam("ids", expanding=True)), _s.c.joined_into == sa.bindparam("host", type_=sa.Text()))
_FINALIZE_MANY = sa.update(_s).where(_MANY, _s.c.status == JOINING).values(_FINALIZED)
_COUNT_JOINED = sa.select(sa.func.count()).select_from(_s).where(_MANY, _s.c.status == JOINED)
_FINALIZE_ALONE, _FINALIZE = _move(_FINALIZED, alone=True), _move(_FINALIZED, alone=False)
_REVERT_ALONE, _REVERT = _move(_REVERTED, alone=True), _move(_REVERTED, alone=False)
_IS_JOINED = sa.select(_s.c.sequence).where(
    _s.c.submission_id == sa.bindparam("id"), _s.c.status == JOINED, _s.c.joined_into == sa.bindparam("host")
)

# Two equalities and not one IN: with statistics, SQLite would rather read the whole table for two values that it has never seen.
_hosts = sa.union(*(sa.select(_s.c.joined_into).where(_s.c.status == status) for status in (JOINING, JOINED))).subquery("hosts")
_STRANDED = (
    sa.select(_s.c.submission_id, _s.c.error)
    .select_from(_hosts.join(_s, _s.c.submission_id == _hosts.c.joined_into))
    .where(_s.c.status == SETTLED)
    .order_by(_s.c.sequence)
)


class JoinPart(SubmissionPart):
    """Joins."""

    def claim_joinable(self, host: Attempt, agent_name: str) -> list[Submission]:
        """Take the contiguous prefix of deliveries queued behind a running host.

        The prefix ends before the first row that is not ready, is to be aborted, cannot be parsed, or is another agent's.

        Returns:
            The accepted submissions in admission order, status ``joining``; empty when the host is not running under its attempt.

        Raises:
            OutcomeUnknown: the answer was lost; :meth:`list_joined` tells what is joining.
        """
        gate = self._host_gate(host)
        return self._scope.write(lambda executor: self._claim_joinable(executor, gate, agent_name), lost=Lost.UNKNOWN)

    def _claim_joinable(self, executor: Executor, gate: dict[str, str], agent_name: str) -> list[Submission]:
        lane = executor.execute(_LANE, gate).scalar()
        if lane is None:
            return []
        if self._dialect.lane_locks:
            self._dialect.lock_session(executor, lane)
        if executor.execute(_TOUCH_HOST, gate).rowcount != 1:
            return []
        accepted: list[tuple[StoredRow, Submission]] = []
        complete = True
        after = 0
        while complete:
            page = self._page(executor, lane, after)
            if not page:
                break
            after = page[-1].sequence
            for row in page:
                submission = _joinable(row, agent_name)
                if submission is None:
                    complete = False
                    break
                accepted.append((row, submission))
            complete = complete and len(page) == _PAGE
        for sequences in in_batches([row.sequence for row, _ in accepted]):
            executor.execute(_JOIN, {"sequences": sequences, "host": gate["host"]})
        update = {"status": "joining", "joined_into": gate["host"]}
        return [submission.model_copy(update=update) for _, submission in accepted]

    def _page(self, executor: Executor, lane: str, after: int) -> list[StoredRow]:
        rows = [StoredRow(dict(row._mapping), []) for row in executor.execute(_QUEUED_PAGE, {"lane": lane, "after": after}).all()]
        by_id = {row.values["submission_id"]: row for row in rows}
        if by_id:
            statement = _NEWEST_CHUNKS if self._scope.in_transaction else _CHUNKS
            for chunk in executor.execute(statement, {"ids": list(by_id)}):
                by_id[chunk.submission_id].chunks.append(Chunk(chunk.item_id, chunk.chunk_index, chunk.chunk_count, chunk.data))
        return rows

    def finalize_join(self, host: Attempt, submission_id: str) -> bool:
        """Record that a joining delivery's input is in the stream.

        Returns:
            False when it is not joining into ``host``, or the host is not running under its attempt.
        """

        def arrived(executor: Executor) -> bool:
            return executor.execute(_IS_JOINED, {"id": submission_id, "host": host.submission_id}).first() is not None

        return self._moved(_FINALIZE_ALONE, _FINALIZE, host, submission_id, {"now": self._now()}, confirm=arrived)

    def finalize_joins(self, host: Attempt, submission_ids: Sequence[str]) -> bool:
        """Record that the inputs of these joining deliveries are in the stream; may be repeated, unlike :meth:`finalize_join`.

        Returns:
            Whether all of them are joined into ``host`` now; False, and nothing is changed, when it is not running under its attempt.
        """
        gate = self._host_gate(host)
        ids = list(dict.fromkeys(self._key("submission_id", submission_id) for submission_id in submission_ids))
        now = self._now()

        def operation(executor: Executor) -> bool:
            if executor.execute(_LOCK_HOST, gate).first() is None:
                return False
            joined = 0
            for some in in_batches(ids):
                parameters = {"ids": some, "host": host.submission_id}
                executor.execute(_FINALIZE_MANY, {**parameters, "now": now}).close()
                joined += executor.execute(_COUNT_JOINED, parameters).scalar_one()
            return joined == len(ids)

        return self._scope.write(operation)

    def revert_join(self, host: Attempt, submission_id: str) -> bool:
        """Give a joining delivery back to the queue; the caller guarantees that its input is not in the stream.

        Returns:
            False when it is not joining into ``host``, or the host is not running under its attempt.
        """
        done = self._moved(_REVERT_ALONE, _REVERT, host, submission_id, {}, lost=Lost.UNKNOWN)
        if done:
            self._wake_queue()
        return done

    def repair_joins(self) -> int:
        """Move children whose host is settled: a server of another make may leave such rows, which block their session for ever.

        Returns:
            How many rows were moved.
        """
        stranded = self._scope.read(lambda executor: executor.execute(_STRANDED).all())
        moved = 0
        for host in stranded:
            moved += self._scope.write(
                lambda executor, host=host: fan_out(executor, host.submission_id, now=self._now(), error=host.error)  # type: ignore[misc]
            )
        if moved:
            self._wake_queue()
        return moved

    def _moved(
        self,
        alone: sa.Update,
        locked: sa.Update,
        host: Attempt,
        submission_id: str,
        values: dict[str, Any],
        *,
        confirm: Operation[bool] | None = None,
        lost: Lost = Lost.REPLAY,
    ) -> bool:
        gate = self._host_gate(host)
        parameters = {"id": self._key("submission_id", submission_id), **values}
        if self._dialect.single_statement:
            return self._scope.single(
                lambda executor: executor.execute(alone, {**gate, **parameters}).rowcount == 1, confirm=confirm, lost=lost
            )

        def operation(executor: Executor) -> bool:
            if executor.execute(_LOCK_HOST, gate).first() is None:
                return False
            return executor.execute(locked, {**parameters, "host": host.submission_id}).rowcount == 1

        return self._scope.write(operation, confirm=confirm, lost=lost)

    def _host_gate(self, host: Attempt) -> dict[str, str]:
        return {"host": self._key("submission_id", host.submission_id), "attempt": self._key("attempt_id", host.attempt_id)}


def _joinable(row: StoredRow, agent_name: str) -> Submission | None:
    values = row.values
    if values["canonical_ready_at"] is None or values["abort_requested_at"] is not None:
        return None
    try:
        submission = parse(row)
    except FlueError:
        return None
    return submission if submission.input["agent"] == agent_name else None
