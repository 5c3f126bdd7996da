"""Reading submissions. A list settles what it cannot parse, so that one bad row never blocks a lane (spec/submissions.md §7.2, §8)."""

from __future__ import annotations

import logging
from typing import Any

import sqlalchemy as sa

from flue_sqla.errors import FlueError
from flue_sqla.models.tables import submissions
from flue_sqla.records.submission import SettlementObligation, Submission
from flue_sqla.repositories.scope import Executor
from flue_sqla.repositories.submissions.base import SubmissionPart
from flue_sqla.repositories.submissions.fanout import fan_out
from flue_sqla.repositories.submissions.rows import (
    JOINED,
    JOINING,
    QUEUED,
    RUNNING,
    SETTLED,
    TERMINALIZING,
    StoredRow,
    columns,
    earlier_unsettled,
    grouped,
    parse,
    record_of,
    unsettled,
    with_chunks,
)
from flue_sqla.wire import require_integer

__all__ = ["Queries", "is_head", "storable_error"]

log = logging.getLogger("flue_sqla.submissions")

_s = submissions
_NO_LIMIT = 2**31 - 1


def is_head(row: sa.FromClause) -> sa.ColumnElement[bool]:
    """No row of the same session with a lower sequence is unsettled (spec/submissions.md §6)."""
    earlier = submissions.alias("earlier")
    return ~sa.exists().where(earlier_unsettled(earlier, row.c.session_key, row.c.sequence)).correlate(row)


def _listing(*where: sa.ColumnElement[bool]) -> sa.Select[Any]:
    page = sa.select(*columns()).where(*where).order_by(_s.c.sequence).limit(sa.bindparam("limit", type_=sa.Integer())).subquery("page")
    return with_chunks(page)


_UNREADY = _listing(_s.c.status == QUEUED, _s.c.canonical_ready_at.is_(None))
_RUNNABLE = _listing(_s.c.status == QUEUED, _s.c.canonical_ready_at.is_not(None), is_head(_s))
_RUNNING = _listing(_s.c.status == RUNNING)
_EXPIRED = _listing(_s.c.status == RUNNING, _s.c.lease_expires_at > 0, _s.c.lease_expires_at < sa.bindparam("now"))
_JOINED = _listing(_s.c.joined_into == sa.bindparam("host"), _s.c.status.in_((JOINING, JOINED)))
_ANY_UNSETTLED = sa.select(_s.c.sequence).where(unsettled(_s)).limit(1)
_PENDING = (
    sa.select(_s.c.submission_id, _s.c.session_key, _s.c.attempt_id, _s.c.settlement_record_id, _s.c.settlement_record)
    .where(_s.c.status == TERMINALIZING)
    .order_by(_s.c.sequence)
)
_TERMINATE_QUEUED, _TERMINATE_ACTIVE = (
    sa.update(_s)
    .where(_s.c.sequence == sa.bindparam("row_sequence"), _s.c.status == status)
    .values(status=SETTLED, settled_at=sa.bindparam("now"), error=sa.bindparam("message"))
    for status in (QUEUED, RUNNING)
)


def storable_error(error: str | BaseException) -> str:
    """The text of an error as every database can hold it: NUL and lone surrogates, which none has a form for, are replaced."""
    text = str(error) if isinstance(error, str) or str(error) else type(error).__name__
    return text.replace("\0", "\ufffd").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Queries(SubmissionPart):
    """Reads."""

    def get(self, submission_id: str) -> Submission | None:
        """The submission, or None.

        Raises:
            MalformedRowError: the row breaks the contract (spec/submissions.md §5.1).
        """
        self._key("submission_id", submission_id)
        return self._parsed(self._scope.read(lambda executor: self._row(executor, submission_id)))

    def has_unsettled(self) -> bool:
        """Whether anything is not settled yet."""
        return self._scope.read(lambda executor: executor.execute(_ANY_UNSETTLED).first()) is not None

    def list_unready(self) -> list[Submission]:
        """Queued submissions that are not canonical-ready, in admission order; unparseable ones are settled."""
        return self._list(_UNREADY, {}, _TERMINATE_QUEUED)

    def list_runnable(self, limit: int | None = None) -> list[Submission]:
        """The runnable heads of all sessions in admission order, at most ``limit``; unparseable ones are settled."""
        if limit is not None and require_integer(limit, "limit", bits=31) < 1:
            return []
        return self._list(_RUNNABLE, {"limit": _NO_LIMIT if limit is None else limit}, _TERMINATE_QUEUED)

    def list_running(self) -> list[Submission]:
        """Running submissions in admission order; unparseable ones are settled with their joined children."""
        return self._list(_RUNNING, {}, _TERMINATE_ACTIVE)

    def list_expired(self) -> list[Submission]:
        """Running submissions whose lease has passed; unparseable ones are settled with their joined children."""
        return self._list(_EXPIRED, {"now": self._now()}, _TERMINATE_ACTIVE)

    def list_joined(self, host_submission_id: str) -> list[Submission]:
        """The deliveries joining or joined into a host, in admission order; unparseable ones are left out and left alone."""
        return self._list(_JOINED, {"host": self._key("submission_id", host_submission_id)}, _TERMINATE_ACTIVE)

    def list_pending_settlements(self) -> list[SettlementObligation]:
        """Reserved settlements that are not finalized, in admission order; a row without a complete one is left out and logged."""
        rows = self._scope.read(lambda executor: executor.execute(_PENDING).all())
        return [obligation for row in rows if (obligation := _obligation(row)) is not None]

    def _list(self, statement: sa.Select[Any], parameters: dict[str, Any], terminate: sa.Update) -> list[Submission]:
        parameters = {"limit": _NO_LIMIT, **parameters}
        found: list[Submission] = []
        for row in self._scope.read(lambda executor: grouped(executor.execute(statement, parameters))):
            try:
                found.append(parse(row))
            except FlueError as error:
                self._terminate(row, terminate, error)
        return found

    def _terminate(self, row: StoredRow, terminate: sa.Update, error: FlueError) -> None:
        submission_id = row.values["submission_id"]
        log.error("Submission %s cannot be parsed and is settled: %s", submission_id, error)
        message, now = storable_error(error), self._now()
        parameters = {"row_sequence": row.sequence, "now": now, "message": message}

        def operation(executor: Executor) -> bool:
            if executor.execute(terminate, parameters).rowcount != 1:
                return False
            fan_out(executor, submission_id, now=now, error=message)
            return True

        if self._scope.write(operation):
            self._wake_settled(submission_id)


def _obligation(row: Any) -> SettlementObligation | None:
    record = record_of(row.settlement_record)
    if record is None or row.settlement_record_id is None or row.attempt_id is None:
        log.error("[flue] Persisted submission settlement obligation is malformed: submission %s.", row.submission_id)
        return None
    return SettlementObligation.model_construct(
        submission_id=row.submission_id,
        session_key=row.session_key,
        attempt_id=row.attempt_id,
        record_id=row.settlement_record_id,
        record=record,
    )
