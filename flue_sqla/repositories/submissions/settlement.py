"""Ending a submission exactly once (spec/submissions.md §7.9 to §7.12).

The host's row and its joined children move together. On PostgreSQL that is one statement, gated on the host's row being the very
version that the statement's snapshot saw: a statement that waited for ``claim_joinable`` would otherwise miss the children that were
claimed meanwhile and leave them behind for ever. When that gate fails, the same is done once more in a transaction, whose second
statement sees them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from flue_sqla.dialects.postgresql import materialized, row_version
from flue_sqla.errors import MalformedRowError
from flue_sqla.models.tables import submissions
from flue_sqla.records.submission import Attempt, SettlementObligation
from flue_sqla.repositories.notifications import notification
from flue_sqla.repositories.scope import Executor, Operation
from flue_sqla.repositories.submissions.base import SubmissionPart
from flue_sqla.repositories.submissions.fanout import fan_out, fan_out_update
from flue_sqla.repositories.submissions.queries import storable_error
from flue_sqla.repositories.submissions.rows import JOINED, QUEUED, RUNNING, SETTLED, TERMINALIZING, record_of
from flue_sqla.wire import canonical_json, parse_json

__all__ = ["SettlementPart"]

FALLBACK_ERROR = "The submission did not complete."

_s = submissions
_ID = _s.c.submission_id == sa.bindparam("id", type_=sa.Text())
_ATTEMPT = _s.c.attempt_id == sa.bindparam("attempt", type_=sa.Text())
_RUNNING = sa.and_(_ID, _s.c.status == RUNNING, _ATTEMPT)
_RESERVED = sa.and_(_ID, _s.c.status == TERMINALIZING, _ATTEMPT, _s.c.settlement_record_id == sa.bindparam("record_id", type_=sa.Text()))
_NOW = sa.bindparam("now", type_=sa.BigInteger())
_MESSAGE = sa.bindparam("message", type_=sa.Text())


def _settle(gate: sa.ColumnElement[bool], error: sa.ColumnElement[Any]) -> sa.Update:
    return sa.update(_s).where(gate).values(status=SETTLED, settled_at=_NOW, error=error)


def _settle_with_children(gate: sa.ColumnElement[bool], error: sa.ColumnElement[Any], *, notifying: bool) -> sa.Select[Any]:
    seen = _s.alias("seen")
    unchanged = (
        row_version(_s) == sa.select(row_version(seen)).where(seen.c.submission_id == sa.bindparam("id", type_=sa.Text())).scalar_subquery()
    )
    host = _settle(sa.and_(gate, unchanged), error).returning(_s.c.submission_id, _s.c.error).cte("host")
    children = fan_out_update(host.c.error).where(_s.c.joined_into == host.c.submission_id).returning(_s.c.sequence).cte("children")
    wake = [notification("queue_payload"), notification("settled_payload")] if notifying else []
    return sa.select(host.c.submission_id, *wake).add_cte(children)


def _record_error() -> sa.ColumnElement[Any]:
    """The error of the stored record. Only for records without escapes, which the gate below asks for: see :func:`_readable`."""
    failed = sa.func.coalesce(_MESSAGE, _recorded("error", "message"), sa.literal_column(f"'{FALLBACK_ERROR}'", sa.Text()))
    return sa.case((_recorded("outcome") == sa.literal_column("'completed'", sa.Text()), sa.null()), else_=failed)


def _recorded(*path: str) -> sa.ColumnElement[str]:
    """The text at ``path`` of the stored record."""
    record = sa.cast(_s.c.settlement_record, sa.JSON())
    return sa.func.json_extract_path_text(record, *(sa.literal_column(f"'{name}'", sa.Text()) for name in path), type_=sa.Text())


def _readable() -> sa.ColumnElement[bool]:
    # The server cannot unescape U+0000 or a lone surrogate, both of which JSON text may hold; those records are read in Python, and
    # so is what is no object.
    record = _s.c.settlement_record
    return sa.and_(
        sa.func.strpos(record, sa.literal_column(r"'\u'", sa.Text())) == 0, sa.func.strpos(record, sa.literal_column("'{'", sa.Text())) == 1
    )


@functools.cache
def _statement(kind: str, notifying: bool) -> sa.Select[Any]:
    if kind == "end":
        return _settle_with_children(_RUNNING, _MESSAGE, notifying=notifying)
    return _settle_with_children(sa.and_(_RESERVED, _readable()), _record_error(), notifying=notifying)


_END = _settle(_RUNNING, _MESSAGE)
_FINALIZE = _settle(_RESERVED, _MESSAGE)
_RECORD = sa.select(_s.c.settlement_record).where(_RESERVED).with_for_update()
_SETTLE_QUEUED = _settle(sa.and_(_ID, _s.c.status == QUEUED), _MESSAGE)
_OUTCOME = sa.select(_s.c.error, _s.c.settlement_record_id).where(_ID, _s.c.status == SETTLED, _ATTEMPT)
_QUEUED_OUTCOME = sa.select(_s.c.error).where(_ID, _s.c.status == SETTLED, _s.c.attempt_id.is_(None))

_child, _host = _s.alias("child"), _s.alias("host")
_HOST_OF_JOINED = (
    sa.select(_host.c.submission_id)
    .select_from(_child.join(_host, _host.c.submission_id == _child.c.joined_into))
    .where(
        _child.c.submission_id == sa.bindparam("id", type_=sa.Text()),
        _child.c.status == JOINED,
        _host.c.status == RUNNING,
        _host.c.attempt_id == sa.bindparam("attempt", type_=sa.Text()),
    )
)
_RESERVATION = {
    "status": TERMINALIZING,
    "settlement_record_id": sa.bindparam("record_id", type_=sa.Text()),
    "settlement_record": sa.bindparam("record", type_=sa.Text()),
    "attempt_id": sa.bindparam("attempt", type_=sa.Text()),
    "started_at": sa.func.coalesce(_s.c.started_at, _NOW),
}


def _reserve(host_ids: sa.ColumnElement[bool]) -> sa.Update:
    running = sa.and_(_s.c.status == RUNNING, _ATTEMPT, _s.c.owner_id.is_not(None))
    return (
        sa.update(_s)
        .where(_ID, _s.c.settlement_record_id.is_(None), sa.or_(running, sa.and_(_s.c.status == JOINED, host_ids)))
        .values(_RESERVATION)
    )


# The host is locked before the child is looked at: the fence that decides must be the host's newest attempt.
_locked_host = materialized(_HOST_OF_JOINED.with_for_update(of=_host), "locked_host")
_RESERVE_ALONE = _reserve(_s.c.joined_into.in_(sa.select(_locked_host.c.submission_id))).returning(_s.c.session_key)
_RESERVE = _reserve(_s.c.joined_into == sa.bindparam("host", type_=sa.Text()))
_LOCK_HOST = (
    sa.select(_s.c.submission_id)
    .where(_s.c.submission_id == sa.bindparam("host", type_=sa.Text()), _s.c.status == RUNNING, _ATTEMPT)
    .with_for_update()
)
_STATE = sa.select(
    _s.c.session_key, _s.c.status, _s.c.attempt_id, _s.c.joined_into, _s.c.settlement_record_id, _s.c.settlement_record
).where(_ID)


class SettlementPart(SubmissionPart):
    """Settlements."""

    def reserve_settlement(self, attempt: Attempt, record_id: str, record: Mapping[str, Any]) -> SettlementObligation | None:
        """Reserve the outcome before it reaches the stream (spec/submissions.md §7.9).

        Returns:
            The obligation, also for an exact repeat. None when the record's id is not ``record_id``, when another outcome is reserved,
            or when the submission is neither running under ``attempt`` with an owner nor joined into a host running under it.
        """
        if record.get("id") != record_id:
            return None
        text = canonical_json(record)
        parameters = {
            **self._gate(attempt),
            "record_id": self._key("settlement_record_id", record_id),
            "record": text,
            "now": self._now(),
        }
        session_key: str | None = None
        if self._dialect.single_statement:
            session_key = self._scope.single(lambda executor: executor.execute(_RESERVE_ALONE, parameters).scalar())
        if session_key is None:
            session_key = self._scope.write(lambda executor: self._reserve_locked(executor, parameters))
        if session_key is None:
            return None
        return SettlementObligation.model_construct(
            submission_id=attempt.submission_id,
            session_key=session_key,
            attempt_id=attempt.attempt_id,
            record_id=record_id,
            record=parse_json(text),
        )

    def _reserve_locked(self, executor: Executor, parameters: dict[str, Any]) -> str | None:
        self._dialect.check_packet(executor, parameters["record"])
        row = executor.execute(_STATE, {"id": parameters["id"]}).first()
        if row is None:
            return None
        host = None
        if row.joined_into is not None:
            host = executor.execute(_LOCK_HOST, {"host": row.joined_into, "attempt": parameters["attempt"]}).scalar()
        if executor.execute(_RESERVE, {**parameters, "host": host}).rowcount == 1:
            return str(row.session_key)
        row = executor.execute(_STATE.with_for_update(), {"id": parameters["id"]}).first()
        if row is None:
            return None  # settled and pruned meanwhile
        reserved = (row.status, row.attempt_id, row.settlement_record_id, row.settlement_record)
        ours = ("terminalizing", parameters["attempt"], parameters["record_id"], parameters["record"])
        return str(row.session_key) if reserved == ours else None

    def finalize_settlement(self, attempt: Attempt, record_id: str, error_message: str | None = None) -> bool:
        """Settle a reserved submission with its joined children (spec/submissions.md §7.9).

        The error is none for a completed record, else ``error_message``, else the record's own message.

        Returns:
            False when it is not terminalizing under ``attempt`` with this record.
        """
        message = None if error_message is None else storable_error(error_message)
        gate = self._gate(attempt)
        parameters = {**gate, "record_id": self._key("settlement_record_id", record_id), "message": message}

        def arrived(executor: Executor) -> bool:
            row = executor.execute(_OUTCOME, gate).first()
            return row is not None and row.settlement_record_id == record_id

        return self._settle("finalize", parameters, self._finalize_locked, arrived)

    def complete(self, attempt: Attempt) -> bool:
        """Settle a running submission without error, with its joined children. False when it is not running under ``attempt``."""
        return self._end(attempt, None)

    def fail(self, attempt: Attempt, error: str | BaseException) -> bool:
        """Settle a running submission with an error, with its joined children. False when it is not running under ``attempt``."""
        return self._end(attempt, storable_error(error))

    def settle_queued(self, submission_id: str, outcome: str, error: str | BaseException) -> bool:
        """Settle a submission that never ran (spec/submissions.md §7.11). ``outcome`` (failed or aborted) is not stored.

        Returns:
            False when it is unknown or not queued.
        """
        message = storable_error(error)
        parameters = {"id": self._key("submission_id", submission_id), "now": self._now(), "message": message}

        def operation(executor: Executor) -> bool:
            self._dialect.check_packet(executor, message)
            return executor.execute(_SETTLE_QUEUED, parameters).rowcount == 1

        def arrived(executor: Executor) -> bool:
            return executor.execute(_QUEUED_OUTCOME, {"id": submission_id}).scalar() == message

        done = self._scope.single(operation, confirm=arrived)
        if done:
            self._wake_settled(submission_id)
        return done

    def _end(self, attempt: Attempt, message: str | None) -> bool:
        gate = self._gate(attempt)

        def arrived(executor: Executor) -> bool:
            row = executor.execute(_OUTCOME, gate).first()
            return row is not None and row.settlement_record_id is None and row.error == message

        return self._settle("end", {**gate, "message": message}, self._end_locked, arrived)

    def _settle(
        self, kind: str, parameters: dict[str, Any], locked: Callable[[Executor, dict[str, Any]], bool], arrived: Operation[bool]
    ) -> bool:
        parameters = {**parameters, "now": self._now()}
        done = False
        if self._dialect.single_statement:
            notified = parameters | (self._settled_notification(parameters["id"]) if self._notifies else {})
            statement = _statement(kind, self._notifies)
            done = self._scope.single(lambda executor: executor.execute(statement, notified).first() is not None, confirm=arrived)
        if not done:
            done = self._scope.write(lambda executor: locked(executor, parameters), confirm=arrived)
        if done:
            self._wake_settled(parameters["id"])
        return done

    def _end_locked(self, executor: Executor, parameters: dict[str, Any]) -> bool:
        self._dialect.check_packet(executor, parameters["message"] or "")
        if executor.execute(_END, parameters).rowcount != 1:
            return False
        fan_out(executor, parameters["id"], now=parameters["now"], error=parameters["message"])
        return True

    def _finalize_locked(self, executor: Executor, parameters: dict[str, Any]) -> bool:
        gate = {name: parameters[name] for name in ("id", "attempt", "record_id")}
        record = executor.execute(_RECORD, gate).scalar()
        if record is None:
            return False
        parameters = {**parameters, "message": _final_error(parameters["id"], record, parameters["message"])}
        self._dialect.check_packet(executor, parameters["message"] or "")
        if executor.execute(_FINALIZE, parameters).rowcount != 1:
            return False
        fan_out(executor, parameters["id"], now=parameters["now"], error=parameters["message"])
        return True


def _final_error(submission_id: str, record_text: str, error_message: str | None) -> str | None:
    record = record_of(record_text)
    if record is None:
        raise MalformedRowError("[flue] Persisted submission settlement obligation is malformed.", meta={"submissionId": submission_id})
    if record.get("outcome") == "completed":
        return None
    if error_message is not None:
        return error_message
    error = record.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    return storable_error(message) if isinstance(message, str) else FALLBACK_ERROR
