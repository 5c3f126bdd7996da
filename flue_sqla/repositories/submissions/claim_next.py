"""Claiming whatever may run now: many workers on many hosts, each session strictly first in, first out.

A claim looks in two places. First among the oldest queued rows of all (a window of fixed size): in ordinary times the work is there,
and the oldest goes first. Rows of a busy session or of other agents may fill that window, so it then walks from session to session of
the named agents, one index probe each (a loose index scan over the *queued lane* index), however many rows are queued in each. The
walk goes on from where the last one of this process ended, so that no session starves.

No column holds the agent. All keys of one agent's sessions begin with the same bytes and form one range of the index.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.dialects import DialectImpl
from flue_sqla.dialects.postgresql import materialized
from flue_sqla.errors import FlueError
from flue_sqla.models.tables import submissions
from flue_sqla.records.submission import Submission
from flue_sqla.repositories.batching import in_batches
from flue_sqla.repositories.per_dialect import PerDialect
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.repositories.submissions.claims import DEFAULT_TIMEOUT_MS, ClaimPart, claim_values
from flue_sqla.repositories.submissions.fanout import fan_out
from flue_sqla.repositories.submissions.ownership import LEASE_MS
from flue_sqla.repositories.submissions.queries import is_head, storable_error
from flue_sqla.repositories.submissions.rows import QUEUED, RUNNING, SETTLED, StoredRow, columns, grouped, parse, with_chunks
from flue_sqla.wire import agent_prefix, new_id, prefix_end, require_integer

__all__ = ["WINDOW", "ClaimNextPart"]

WINDOW: Final = 128
"""How many of the oldest queued rows a claim looks at before it walks the sessions."""

_NAMES_AT_ONCE: Final = 100
"""Agents that one statement names: SQLite takes 500 parts of a UNION, two for each."""

_s = submissions


def _window(dialect: DialectImpl, names: int) -> tuple[sa.Select[Any], sa.FromClause]:
    """The claimable rows among the oldest queued ones of all agents, oldest first."""
    oldest = (
        sa.select(_s.c.sequence, _s.c.session_key).where(_s.c.status == QUEUED).order_by(_s.c.sequence).limit(WINDOW).subquery("oldest")
    )
    key = dialect.bytewise(oldest.c.session_key)
    named = sa.or_(*(sa.and_(key > sa.bindparam(f"low_{n}"), key < sa.bindparam(f"high_{n}")) for n in range(names)))
    candidate = _s.alias("candidate")
    return (
        sa.select(candidate.c.sequence)
        .select_from(oldest.join(candidate, candidate.c.sequence == oldest.c.sequence))
        .where(named, _claimable(candidate), is_head(candidate))
        .order_by(oldest.c.sequence)
    ), candidate


def _claimable(row: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.and_(row.c.status == QUEUED, row.c.canonical_ready_at.is_not(None))


def _walked_lanes(dialect: DialectImpl, ranges: int) -> sa.FromClause:
    """The first claimable row of each session in the ranges: the first key of each range, then ever the next one."""

    def first_key(after: sa.ColumnElement[Any], end: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        row = _s.alias()
        key = dialect.bytewise(row.c.session_key)
        return sa.select(sa.func.min(key)).where(_claimable(row), key > after, key < end).scalar_subquery()

    def text_parameter(name: str) -> sa.ColumnElement[str]:
        return sa.cast(sa.bindparam(name, type_=sa.Text()), sa.Text())

    cuts = [
        sa.select(text_parameter(f"start_{n}").label("range_start"), text_parameter(f"end_{n}").label("range_end")) for n in range(ranges)
    ]
    cut = sa.union_all(*cuts).cte("ranges")
    lanes = sa.select(first_key(cut.c.range_start, cut.c.range_end).label("session_key"), cut.c.range_end).cte("lanes", recursive=True)
    step = sa.select(first_key(lanes.c.session_key, lanes.c.range_end), lanes.c.range_end).where(lanes.c.session_key.is_not(None))
    lanes = lanes.union_all(step)
    row = _s.alias("first_row")
    first = sa.select(sa.func.min(row.c.sequence)).where(dialect.bytewise(row.c.session_key) == lanes.c.session_key, _claimable(row))
    return sa.select(first.correlate(lanes).scalar_subquery().label("sequence")).select_from(lanes).subquery("heads")


def _grouped_lanes(ranges: int) -> sa.FromClause:
    """The first queued row of each session in the ranges, where the server itself jumps from group to group."""
    cuts = [
        sa.select(sa.func.min(_s.c.sequence).label("sequence"))
        .where(_s.c.status == QUEUED, _s.c.session_key > sa.bindparam(f"start_{n}"), _s.c.session_key < sa.bindparam(f"end_{n}"))
        .group_by(_s.c.session_key)
        for n in range(ranges)
    ]
    return sa.union_all(*cuts).subquery("heads")


def _walk(dialect: DialectImpl, names: int) -> tuple[sa.Select[Any], sa.FromClause]:
    """The claimable heads of the named agents' sessions, session by session."""
    lanes = _grouped_lanes(2 * names) if dialect.loose_index_scan else _walked_lanes(dialect, 2 * names)
    head = _s.alias("head")
    heads = lanes.join(head, head.c.sequence == lanes.c.sequence)
    return sa.select(head.c.sequence).select_from(heads).where(_claimable(head), is_head(head)), head


def _one_statement(dialect: DialectImpl, names: int) -> sa.Select[Any]:
    limit = sa.bindparam("limit", type_=sa.Integer())
    window, candidate = _window(dialect, names)
    in_window = materialized(window.limit(limit).with_for_update(of=candidate, skip_locked=True), "in_window")
    missing = limit - sa.select(sa.func.count()).select_from(in_window).scalar_subquery()
    walk, head = _walk(dialect, names)
    in_lanes = materialized(
        walk.where(head.c.sequence.not_in(sa.select(in_window.c.sequence))).limit(missing).with_for_update(of=head, skip_locked=True),
        "in_lanes",
    )
    found = sa.union_all(sa.select(in_window.c.sequence), sa.select(in_lanes.c.sequence)).cte("found")
    attempts = (
        sa.func.unnest(sa.bindparam("attempts", type_=sa.ARRAY(sa.Text())))
        .table_valued("attempt_id", with_ordinality="number")
        .render_derived("attempts")
    )
    numbered = sa.select(found.c.sequence, sa.func.row_number().over(order_by=found.c.sequence).label("number")).subquery("numbered")
    pairs = (
        sa.select(numbered.c.sequence, attempts.c.attempt_id)
        .select_from(numbered.join(attempts, attempts.c.number == numbered.c.number))
        .cte("pairs")
    )
    claimed = (
        sa.update(_s)
        .where(_s.c.sequence == pairs.c.sequence, _s.c.status == QUEUED)
        .values(claim_values(pairs.c.attempt_id))
        .returning(*columns())
        .cte("claimed")
    )
    return with_chunks(claimed)


def _candidates(dialect: DialectImpl, names: int) -> tuple[sa.Select[Any], sa.Select[Any]]:
    limit = sa.bindparam("limit", type_=sa.Integer())
    in_window, _ = _window(dialect, names)
    in_lanes, _ = _walk(dialect, names)

    def named(candidates: sa.Select[Any]) -> sa.Select[Any]:
        found, submission = candidates.limit(limit).subquery("found"), _s.alias("submission")
        return sa.select(submission.c.submission_id).join(found, found.c.sequence == submission.c.sequence).order_by(submission.c.sequence)

    return named(in_window), named(in_lanes)


# By dialect, then by the number of agents.
_CLAIM = PerDialect(lambda dialect: functools.cache(functools.partial(_one_statement, dialect)))
_CANDIDATES = PerDialect(lambda dialect: functools.cache(functools.partial(_candidates, dialect)))
_OURS = with_chunks(_s).where(_s.c.status == RUNNING, _s.c.attempt_id == sa.any_(sa.bindparam("attempts", type_=sa.ARRAY(sa.Text()))))
_END_MALFORMED = (
    sa.update(_s)
    .where(_s.c.sequence == sa.bindparam("row_sequence"), _s.c.status == RUNNING, _s.c.attempt_id == sa.bindparam("attempt"))
    .values(
        status=SETTLED,
        settled_at=sa.bindparam("now"),
        error=sa.bindparam("message"),
        # As if it had been terminated in the queue (spec/submissions.md §8, mode queued): nobody ever ran it.
        attempt_id=sa.null(),
        started_at=sa.null(),
        owner_id=sa.null(),
        lease_expires_at=0,
        attempt_count=_s.c.attempt_count - 1,
    )
)


class ClaimNextPart(ClaimPart):
    """Claims by agent."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._walked_to: dict[str, str] = {}
        self._turn = 0

    def claim_next(self, *, owner_id: str, agents: Sequence[str], limit: int = 1, lease_expires_at: int | None = None) -> list[Submission]:
        """Claim up to ``limit`` runnable heads of the named agents, each under a new attempt id, safe for many workers at once.

        A head that cannot be parsed is settled with that error instead, and never blocks the others. The lease ends 30 s from now
        unless ``lease_expires_at`` (epoch ms) says otherwise.

        Returns:
            The running submissions in admission order; fewer than ``limit`` when no more may run now.
        """
        if not agents or require_integer(limit, "limit", bits=31) < 1:
            return []
        attempts = [new_id("attempt") for _ in range(limit)]
        now = self._now()
        parameters = {
            "owner": self._key("owner_id", owner_id),
            "lease": now + LEASE_MS if lease_expires_at is None else require_integer(lease_expires_at, "lease_expires_at"),
            "now": now,
            "deadline": now + DEFAULT_TIMEOUT_MS,
        }
        rows: list[StoredRow] = []
        for names in self._turns(list(dict.fromkeys(agents))):
            try:
                claimed = self._claim_for(names, attempts[len(rows) :], parameters)
            except FlueError:
                if not rows or self._scope.in_transaction:
                    raise
                break  # committed already: raising would leave them to their leases
            self._remember(names, claimed)
            rows += claimed
            if len(rows) == limit:
                break
        return self._runnable(rows)

    def _turns(self, names: list[str]) -> list[Sequence[str]]:
        """The agents, as many together as one statement can name, each time beginning with others."""
        groups = list(in_batches(names, _NAMES_AT_ONCE))
        first = self._turn % len(groups)
        self._turn += 1
        return groups[first:] + groups[:first]

    def _claim_for(self, names: Sequence[str], attempts: list[str], parameters: dict[str, Any]) -> list[StoredRow]:
        if not self._dialect.single_statement:
            return self._claim_each(names, attempts, parameters)
        statement = _CLAIM(self._dialect)(len(names))
        ranges = {**parameters, **self._ranges(names), "limit": len(attempts), "attempts": attempts}
        return self._scope.single(
            lambda executor: grouped(executor.execute(statement, ranges)),
            confirm=lambda executor: grouped(executor.execute(_OURS, {"attempts": attempts})),
        )

    def _claim_each(self, names: Sequence[str], attempts: list[str], parameters: dict[str, Any]) -> list[StoredRow]:
        """Claim candidate by candidate, each in a short transaction of its own, so that workers do not wait for each other's batches."""
        rows: list[StoredRow] = []
        for statement in _CANDIDATES(self._dialect)(len(names)):
            # More candidates than needed: other workers look at the same ones.
            wanted = {**self._ranges(names), "limit": 2 * len(attempts) + 8}
            known = {row.values["submission_id"] for row in rows}
            ids = self._scope.read(lambda executor, s=statement, w=wanted: list(executor.execute(s, w).scalars()))  # type: ignore[misc]
            for submission_id in ids:
                if len(rows) == len(attempts):
                    return rows
                if submission_id in known:
                    continue
                claim = {**parameters, "id": submission_id, "attempt": attempts[len(rows)]}
                try:
                    row = self._scope.write(
                        lambda executor, c=claim: self._claim_locked(executor, c),  # type: ignore[misc]
                        confirm=lambda executor, c=claim: self._ours(executor, c),  # type: ignore[misc]
                    )
                except FlueError:
                    if not rows or self._scope.in_transaction:
                        raise
                    return rows  # committed already: raising would leave them to their leases
                if row is not None:
                    rows.append(row)
        return rows

    def _ranges(self, names: Sequence[str]) -> dict[str, str]:
        """The index ranges of the agents: whole (``low``, ``high``), and cut in two where the last walk ended (``start``, ``end``)."""
        ranges: dict[str, str] = {}
        for n, name in enumerate(names):
            low = agent_prefix(name)
            high = prefix_end(low)
            middle = self._walked_to.get(name, low)
            ranges |= {f"low_{n}": low, f"high_{n}": high}
            # Just above the middle, also where the shorter text is compared as if blanks followed (MySQL).
            past = middle + "!"
            ranges |= {f"start_{2 * n}": middle, f"end_{2 * n}": high, f"start_{2 * n + 1}": low, f"end_{2 * n + 1}": past}
        return ranges

    def _remember(self, names: Sequence[str], rows: list[StoredRow]) -> None:
        prefixes = {name: agent_prefix(name) for name in names}
        for row in rows:
            key = row.values["session_key"]
            for name, prefix in prefixes.items():
                if key.startswith(prefix):
                    self._walked_to[name] = key

    def _runnable(self, rows: list[StoredRow]) -> list[Submission]:
        submissions_: list[Submission] = []
        for row in sorted(rows, key=lambda row: row.sequence):
            try:
                submissions_.append(parse(row))
            except FlueError as error:
                self._end_malformed(row, storable_error(error))
        return submissions_

    def _end_malformed(self, row: StoredRow, message: str) -> None:
        submission_id, now = row.values["submission_id"], self._now()
        gate = {"row_sequence": row.sequence, "attempt": row.values["attempt_id"], "now": now, "message": message}

        def operation(executor: Executor) -> None:
            if executor.execute(_END_MALFORMED, gate).rowcount == 1:
                fan_out(executor, submission_id, now=now, error=message)

        self._scope.write(operation)
        self._wake_settled(submission_id)
