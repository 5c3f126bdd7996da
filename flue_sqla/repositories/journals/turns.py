"""How far the current turn of a submission got (spec/submissions.md §13, §14)."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, get_args

import sqlalchemy as sa

from flue_sqla.errors import InvalidInputError, MalformedRowError
from flue_sqla.models.tables import submissions, turn_journals
from flue_sqla.records.journal import Phase, TurnJournal
from flue_sqla.records.submission import Attempt, Lease, Submission
from flue_sqla.records.unset import UNSET, UnsetType
from flue_sqla.repositories.journals.base import JournalPart
from flue_sqla.repositories.per_dialect import PerDialect
from flue_sqla.repositories.scope import Executor
from flue_sqla.repositories.submissions.rows import RUNNING, StoredRow, columns, grouped, newest_with_chunks, parse, with_chunks
from flue_sqla.wire import canonical_json, parse_json, require_integer

__all__ = ["TurnPart"]

_j = turn_journals.c
_PHASES: Final = frozenset(get_args(Phase))
_KINDS: Final = frozenset({"dispatch", "direct"})
_BIG = sa.BigInteger()
_NOW = sa.bindparam("now", type_=_BIG)
_ID = sa.bindparam("of_submission", type_=sa.Text())
_ATTEMPT = sa.bindparam("of_attempt", type_=sa.Text())
_NEXT = sa.bindparam("next_attempt", type_=sa.Text())

_COLUMNS: Final = (
    "submission_id",
    "session_key",
    "kind",
    "attempt_id",
    "operation_id",
    "turn_id",
    "phase",
    "revision",
    "created_at",
    "updated_at",
    "committed",
    "checkpoint_leaf_id",
    "tool_request_json",
    "stream_key",
    "stream_consumed_at",
    "committed_leaf_id",
)
_BEGUN: Final = ("attempt_id", "operation_id", "turn_id", "phase", "checkpoint_leaf_id", "tool_request_json", "updated_at")
_STARTED_OVER: Final = {
    "revision": _j.revision + 1,
    "stream_key": sa.null(),
    "stream_consumed_at": sa.null(),
    "committed": 0,
    "committed_leaf_id": sa.null(),
}

_GET = sa.select(*(_j[name] for name in _COLUMNS)).where(_j.submission_id == _ID)
_BEGIN: PerDialect[Any] = PerDialect(lambda dialect: dialect.upsert(turn_journals, ("submission_id",), _BEGUN, _STARTED_OVER))

_OWNED = sa.and_(_j.submission_id == _ID, _j.attempt_id == _ATTEMPT, _j.committed == 0)
_CHANGE = sa.update(turn_journals).where(_OWNED).values(revision=_j.revision + 1, updated_at=_NOW)
_COMMIT = _CHANGE.values(phase="committed", committed=1, committed_leaf_id=sa.bindparam("leaf", type_=sa.Text()))
_CONSUME = _CHANGE.where(_j.stream_key == sa.bindparam("of_stream", type_=sa.Text()), _j.stream_consumed_at.is_(None)).values(
    stream_consumed_at=_NOW
)
_MOVE = _CHANGE.values(attempt_id=_NEXT)

_s = submissions.c
_REPLACE = (
    sa.update(submissions)
    .where(_s.submission_id == _ID, _s.status == RUNNING, _s.attempt_id == _ATTEMPT)
    .values(attempt_id=_NEXT, started_at=_NOW, attempt_count=_s.attempt_count + 1)
)
_REPLACE_WITH_LEASE = _REPLACE.values(owner_id=sa.bindparam("owner", type_=sa.Text()), lease_expires_at=sa.bindparam("lease", type_=_BIG))
_SUBMISSION = with_chunks(submissions).where(_s.submission_id == _ID)
_NEWEST_SUBMISSION = PerDialect(lambda dialect: newest_with_chunks(dialect, _SUBMISSION))


@cache
def _update_phase(given: frozenset[str]) -> sa.Update:
    """The given options overwrite, absent ones keep."""
    options = {name: sa.bindparam(f"new_{name}", type_=sa.Text()) for name in sorted(given)}
    return _CHANGE.values(phase=sa.bindparam("new_phase", type_=sa.Text()), **options)


@cache
def _replace_in_one(*, with_lease: bool) -> sa.Select[Any]:
    """Submission and journal move in one statement; the journal's UPDATE depends on the submission's."""
    replaced = (_REPLACE_WITH_LEASE if with_lease else _REPLACE).returning(*columns()).cte("replaced")
    moved = _MOVE.where(sa.exists().where(replaced.c.submission_id == _ID)).returning(_j.submission_id).cte("moved")
    return with_chunks(replaced).add_cte(moved)


class TurnPart(JournalPart):
    """At most one journal per submission; the attempt that began it owns it until it is committed."""

    def get(self, submission_id: str) -> TurnJournal | None:
        """The journal, or None.

        Raises:
            MalformedRowError: the stored row breaks the contract.
        """
        self._check(submission_id=submission_id)
        row = self._scope.read(lambda executor: executor.execute(_GET, {"of_submission": submission_id}).first())
        return None if row is None else _journal(row)

    def begin(
        self,
        *,
        submission_id: str,
        session_key: str,
        kind: str,
        attempt_id: str,
        operation_id: str,
        turn_id: str,
        phase: str,
        checkpoint_leaf_id: str | None = None,
        tool_request: Any = UNSET,
    ) -> bool:
        """Begin a turn. A journal that exists starts over under the new attempt; its creation time, session and kind stay.

        Nothing is asked of the submission, not even that it is there.

        Args:
            kind: ``dispatch`` or ``direct``.
            phase: ``before_provider``, ``provider_started``, ``tool_request_recorded`` or ``committed``.
            tool_request: any JSON; ``UNSET`` is none.

        Returns:
            True.

        Raises:
            InvalidInputError: another kind or phase, or a value that cannot be stored; no statement was sent.
        """
        _check_phase(phase)
        if kind not in _KINDS:
            raise InvalidInputError(f"A journal's kind is dispatch or direct, found {kind!r}.", meta={"field": "kind"})
        now = self._scope.clock.now()
        request = None if tool_request is UNSET else canonical_json(tool_request)
        keys = {
            "submission_id": submission_id,
            "session_key": session_key,
            "attempt_id": attempt_id,
            "operation_id": operation_id,
            "turn_id": turn_id,
        }
        self._check(**keys, **_given(checkpoint_leaf_id=checkpoint_leaf_id))
        values = {
            **keys,
            "checkpoint_leaf_id": checkpoint_leaf_id,
            "kind": kind,
            "phase": phase,
            "revision": 1,
            "created_at": now,
            "updated_at": now,
            "tool_request_json": request,
        }

        def operation(executor: Executor) -> bool:
            self._scope.dialect.check_packet(executor, request or "")
            executor.execute(_BEGIN(self._scope.dialect), values)
            return True

        return self._scope.single(operation)

    def update_phase(
        self,
        attempt: Attempt,
        phase: str,
        *,
        checkpoint_leaf_id: str | UnsetType | None = UNSET,
        tool_request: Any = UNSET,
        stream_key: str | UnsetType | None = UNSET,
    ) -> bool:
        """Go to ``phase``; options that are not given keep what is stored.

        Returns:
            False when the journal is missing, committed, or owned by another attempt.
        """
        _check_phase(phase)
        options: dict[str, str | None] = {}
        if checkpoint_leaf_id is not UNSET:
            options["checkpoint_leaf_id"] = checkpoint_leaf_id
        if tool_request is not UNSET:
            options["tool_request_json"] = canonical_json(tool_request)
        if stream_key is not UNSET:
            options["stream_key"] = stream_key
        self._check(**_given(**{name: value for name, value in options.items() if name != "tool_request_json"}))
        parameters = {"new_phase": phase, **{f"new_{name}": value for name, value in options.items()}}

        statement = _update_phase(frozenset(options))

        def operation(executor: Executor) -> bool:
            self._scope.dialect.check_packet(executor, options.get("tool_request_json") or "")
            return self._change(executor, statement, attempt, **parameters)

        self._check_attempt(attempt)
        return self._scope.single(operation)

    def commit(self, attempt: Attempt, leaf_id: str) -> bool:
        """Seal the journal at ``leaf_id``; nothing changes it then until it begins again.

        Returns:
            False when it is missing, committed already, or owned by another attempt.
        """
        self._check_attempt(attempt)
        self._check(committed_leaf_id=leaf_id)

        def arrived(executor: Executor) -> bool:
            row = self._owned_row(executor, attempt)
            return row is not None and row.committed == 1 and row.committed_leaf_id == leaf_id

        return self._scope.single(lambda executor: self._change(executor, _COMMIT, attempt, leaf=leaf_id), confirm=arrived)

    def mark_stream_consumed(self, attempt: Attempt, stream_key: str) -> bool:
        """Say that the buffered answer under ``stream_key`` has been taken over; true once.

        Returns:
            False when the journal is missing, committed, owned by another attempt, has another stream, or was marked before.
        """
        self._check_attempt(attempt)
        self._check(stream_key=stream_key)

        def arrived(executor: Executor) -> bool:
            row = self._owned_row(executor, attempt)
            return row is not None and row.stream_key == stream_key and row.stream_consumed_at is not None

        return self._scope.single(lambda executor: self._change(executor, _CONSUME, attempt, of_stream=stream_key), confirm=arrived)

    def replace_attempt(self, attempt: Attempt, next_attempt_id: str, lease: Lease | None = None) -> Submission | None:
        """Fence ``attempt``: the running submission and its uncommitted journal go over to ``next_attempt_id`` together.

        Returns:
            The submission as it is then, or None when it is not running under ``attempt``; nothing was written.

        Raises:
            MalformedRowError: the submission's row breaks the contract.
        """
        self._check_attempt(attempt)
        self._check(attempt_id=next_attempt_id)
        parameters: dict[str, Any] = {"next_attempt": next_attempt_id}
        if lease is not None:
            self._check(owner_id=lease.owner_id)
            parameters |= {"owner": lease.owner_id, "lease": require_integer(lease.lease_expires_at, "lease_expires_at")}

        def confirmed(executor: Executor) -> StoredRow | None:
            row = _stored(executor, attempt.submission_id)
            return row if row is not None and row.values["attempt_id"] == next_attempt_id else None

        if self._scope.dialect.single_statement:
            statement = _replace_in_one(with_lease=lease is not None)

            def replace(executor: Executor) -> StoredRow | None:
                return next(iter(grouped(executor.execute(statement, self._gate(attempt, **parameters)))), None)

            row = self._scope.single(replace, confirm=confirmed)
        else:
            row = self._scope.write(lambda executor: self._replace(executor, attempt, parameters), confirm=confirmed)
        return None if row is None else parse(row)

    def _replace(self, executor: Executor, attempt: Attempt, parameters: dict[str, Any]) -> StoredRow | None:
        statement = _REPLACE_WITH_LEASE if "owner" in parameters else _REPLACE
        if executor.execute(statement, self._gate(attempt, **parameters)).rowcount != 1:
            return None
        executor.execute(_MOVE, self._gate(attempt, next_attempt=parameters["next_attempt"]))
        newest = self._scope.in_transaction
        return _stored(executor, attempt.submission_id, _NEWEST_SUBMISSION(self._scope.dialect) if newest else _SUBMISSION)

    def _change(self, executor: Executor, statement: sa.Update, attempt: Attempt, **parameters: Any) -> bool:
        return executor.execute(statement, self._gate(attempt, **parameters)).rowcount == 1

    def _gate(self, attempt: Attempt, **parameters: Any) -> dict[str, Any]:
        return {"of_submission": attempt.submission_id, "of_attempt": attempt.attempt_id, "now": self._scope.clock.now(), **parameters}

    def _owned_row(self, executor: Executor, attempt: Attempt) -> sa.Row[Any] | None:
        row = executor.execute(_GET, {"of_submission": attempt.submission_id}).first()
        return row if row is not None and row.attempt_id == attempt.attempt_id else None

    def _check_attempt(self, attempt: Attempt) -> None:
        self._check(submission_id=attempt.submission_id, attempt_id=attempt.attempt_id)


def _stored(executor: Executor, submission_id: str, statement: sa.Select[Any] = _SUBMISSION) -> StoredRow | None:
    return next(iter(grouped(executor.execute(statement, {"of_submission": submission_id}))), None)


def _given(**keys: str | None) -> dict[str, str]:
    return {name: value for name, value in keys.items() if value is not None}


def _check_phase(phase: str) -> None:
    if phase not in _PHASES:
        raise InvalidInputError(
            f"A journal's phase is one of {', '.join(sorted(_PHASES))}; found {phase!r}.", meta={"field": "phase", "phase": phase}
        )


def _journal(row: sa.Row[Any]) -> TurnJournal:
    values: dict[str, Any] = dict(row._mapping)
    request = values.pop("tool_request_json")
    numbers = ("revision", "created_at", "updated_at")
    if (
        values["kind"] not in _KINDS
        or values["phase"] not in _PHASES
        or values["committed"] not in (0, 1)
        or not all(isinstance(values[name], int) for name in numbers)
    ):
        raise _malformed(row)
    values["committed"] = bool(values["committed"])
    if request is not None:
        try:
            values["tool_request"] = parse_json(request)
        except ValueError as error:
            raise _malformed(row) from error
    return TurnJournal.model_construct(**values)


def _malformed(row: sa.Row[Any]) -> MalformedRowError:
    return MalformedRowError("[flue] Persisted turn journal row is malformed.", meta={"submissionId": row.submission_id})
