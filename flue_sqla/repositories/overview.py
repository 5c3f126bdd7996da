"""Reads for an operator: the queue by agent, and submissions as they stand. Nothing is parsed, so nothing is settled by looking."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.models.tables import runs, session_deletions, submissions
from flue_sqla.records.overview import AgentStatus, StatusReport, SubmissionSummary
from flue_sqla.repositories.paging import page_limit
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.repositories.submissions.rows import RUNNING, unsettled
from flue_sqla.wire import agent_prefix, parse_session_key, require_integer, require_storable

__all__ = ["Overview"]

_s = submissions.c
_NOW = sa.bindparam("now", type_=sa.BigInteger())
_EXPIRED = sa.and_(_s.status == RUNNING, _s.lease_expires_at > 0, _s.lease_expires_at < _NOW)


def _number(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.sum(sa.case((condition, 1), else_=0))


_LANES = (
    sa.select(
        _s.session_key,
        _s.status,
        sa.func.count().label("number"),
        sa.func.min(_s.accepted_at).label("oldest"),
        _number(_s.canonical_ready_at.is_(None)).label("unready"),
        _number(_EXPIRED).label("expired"),
    )
    .where(unsettled(submissions))
    .group_by(_s.session_key, _s.status)
)
_ACTIVE = sa.select(sa.func.count().label("number"), sa.func.min(runs.c.started_at).label("oldest")).where(runs.c.status == "active")
_DELETIONS = sa.select(sa.func.count()).select_from(session_deletions)
_SUMMARY: Final = tuple(submissions.c[name] for name in SubmissionSummary.model_fields)


@cache
def _listing(*, status: bool, agent: bool, before: bool) -> sa.Select[Any]:
    page = sa.select(*_SUMMARY).order_by(_s.sequence.desc()).limit(sa.bindparam("fetch", type_=sa.Integer()))
    if status:
        page = page.where(_s.status == sa.bindparam("of_status", type_=sa.Text()))
    if agent:
        page = page.where(_s.session_key.startswith(sa.bindparam("of_agent", type_=sa.Text()), autoescape=False, escape="!"))
    if before:
        page = page.where(_s.sequence < sa.bindparam("before", type_=sa.BigInteger()))
    return page


class Overview:
    """The queue as an operator sees it."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def status(self) -> StatusReport:
        """How much waits, runs and has expired, by agent; a snapshot of one moment."""
        now = self._scope.clock.now()
        return self._scope.snapshot(lambda executor: _status(executor, now))

    def submissions(
        self, *, status: str | None = None, agent: str | None = None, limit: int | None = None, before: int | None = None
    ) -> list[SubmissionSummary]:
        """Submissions, newest first.

        Args:
            status: one of queued, running, terminalizing, joining, joined, settled; None for all.
            agent: exactly this agent's.
            limit: at most this many; default 100, at most 1000.
            before: only those with a lower sequence: the last one of the page before.

        Raises:
            InvalidInputError: an argument is of the wrong kind.
        """
        parameters: dict[str, Any] = {"fetch": page_limit(limit)}
        if status:
            parameters["of_status"] = require_storable(status, "status")
        if agent:
            parameters["of_agent"] = _escaped(agent_prefix(agent))
        if before is not None:
            parameters["before"] = require_integer(before, "before")
        statement = _listing(status=bool(status), agent=bool(agent), before=before is not None)
        rows = self._scope.read(lambda executor: executor.execute(statement, parameters).all())
        return [SubmissionSummary.model_construct(**row._mapping) for row in rows]


def _status(executor: Executor, now: int) -> StatusReport:
    lanes: dict[str | None, list[sa.Row[Any]]] = {}
    for row in executor.execute(_LANES, {"now": now}):
        address = parse_session_key(row.session_key)
        lanes.setdefault(address.agent if address else None, []).append(row)
    active = executor.execute(_ACTIVE).one()
    return StatusReport(
        at=now,
        agents=[_agent(agent, lanes[agent]) for agent in sorted(lanes, key=lambda name: (name is None, name or ""))],
        active_runs=active.number,
        oldest_active_run=active.oldest,
        pending_deletions=executor.execute(_DELETIONS).scalar_one(),
    )


def _agent(agent: str | None, rows: list[sa.Row[Any]]) -> AgentStatus:
    def number(status: str) -> int:
        return sum(row.number for row in rows if row.status == status)

    waiting = [row.oldest for row in rows if row.status == "queued"]
    return AgentStatus(
        agent=agent,
        sessions=len({row.session_key for row in rows}),
        queued=number("queued"),
        unready=sum(int(row.unready) for row in rows if row.status == "queued"),
        running=number("running"),
        expired=sum(int(row.expired) for row in rows),
        terminalizing=number("terminalizing"),
        joining=number("joining"),
        joined=number("joined"),
        oldest_waiting_at=min(waiting, default=None),
    )


def _escaped(prefix: str) -> str:
    return prefix.replace("!", "!!").replace("%", "!%").replace("_", "!_")
