"""Deleting a session in three phases around a callback (spec/submissions.md §16).

The marker, committed before the callback runs, keeps new work out; it survives a crash, so that the deletion can be run again. Between the
look for unsettled work and the marker's commit an admission of another kind of server, which knows no markers, can still slip in. So
the lane is locked and looked at once more before the callback. What remains is an admission by such a server after that second look.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.errors import InvalidInputError, SessionBusyError
from flue_sqla.models.tables import session_deletions, submissions
from flue_sqla.repositories.per_dialect import PerDialect
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.repositories.submission_removal import RECEIPTS_FOR_MS, remove_submissions
from flue_sqla.repositories.submissions.rows import SETTLED, unsettled

__all__ = ["SessionDeletion", "pending_deletions"]

_BATCH: Final = 500

_KEY = sa.bindparam("of_session", type_=sa.Text())
_m, _s = session_deletions.c, submissions.c
_MARKER = sa.select(_m.started_at).where(_m.session_key == _KEY).with_for_update()
_MARK: PerDialect[Any] = PerDialect(lambda dialect: dialect.insert_ignore(session_deletions))
_UNMARK = sa.delete(session_deletions).where(_m.session_key == _KEY)
_PENDING = sa.select(_m.session_key).order_by(_m.started_at, _m.session_key)
# A locking read where there are locks: also in a transaction whose snapshot is older than the session's lock.
_UNSETTLED = sa.select(_s.submission_id).where(_s.session_key == _KEY, unsettled(submissions)).limit(1).with_for_update()
_DELETABLE = (
    sa.select(_s.submission_id)
    .where(_s.session_key == _KEY, _s.status == SETTLED, _s.accepted_at <= sa.bindparam("started", type_=sa.BigInteger()))
    .order_by(_s.sequence)
    .limit(_BATCH)
)


def pending_deletions(scope: Scope) -> list[str]:
    """The session keys of all markers, oldest first."""
    return list(scope.read(lambda executor: executor.execute(_PENDING).scalars().all()))


class SessionDeletion:
    """The steps around the callback; both faces call them in this order: ``start``, ``look_again``, callback, ``finish`` or ``give_up``."""

    def __init__(self, scope: Scope, session_key: str) -> None:
        if scope.in_transaction:
            raise InvalidInputError(
                "A session tree is deleted in transactions of its own, so not in a unit of work.",
                remedy="Call delete_tree on the Flue itself; the unit offers sessions.delete for one document.",
            )
        self._scope = scope
        self._key = session_key
        self._of_session = {"of_session": session_key}
        self.refused = False
        """The second look found work, and the marker is gone already."""

    def start(self) -> None:
        """Phase 1: refuse while there is unsettled work, else set the marker; an existing marker keeps its time.

        Raises:
            SessionBusyError: something is queued, running, terminalizing, joining or joined; nothing was written.
        """

        def operation(executor: Executor) -> None:
            self._scope.dialect.lock_session(executor, self._key)
            self._check_settled(executor)
            marker = {"session_key": self._key, "started_at": self._scope.clock.now()}
            executor.execute(_MARK(self._scope.dialect), marker)

        self._scope.write(operation)

    def look_again(self) -> None:
        """The second look, after the marker is visible to everybody.

        Raises:
            SessionBusyError: work was accepted meanwhile; the marker is gone again.
        """

        def operation(executor: Executor) -> bool:
            self._scope.dialect.lock_session(executor, self._key)
            busy = executor.execute(_UNSETTLED, self._of_session).first() is not None
            if busy:
                executor.execute(_UNMARK, self._of_session)
            return busy

        self.refused = self._scope.write(operation)
        if self.refused:
            raise self._busy()

    def give_up(self) -> None:
        """Phase 2 failed: take the marker back."""
        self._scope.single(lambda executor: executor.execute(_UNMARK, self._of_session).close())

    def finish(self) -> None:
        """Phase 3: remove the settled submissions that were accepted before the marker, leave receipts, remove the marker."""

        def operation(executor: Executor) -> None:
            self._scope.dialect.lock_session(executor, self._key)
            marker = executor.execute(_MARKER, self._of_session).first()
            if marker is None:
                return
            kept_until = self._scope.clock.now() + RECEIPTS_FOR_MS
            while True:
                parameters = {**self._of_session, "started": marker.started_at}
                ids = executor.execute(_DELETABLE, parameters).scalars().all()
                if not ids:
                    break
                remove_submissions(executor, self._scope.dialect, ids, kept_until=kept_until)
            executor.execute(_UNMARK, self._of_session)

        self._scope.write(operation)

    def _check_settled(self, executor: Executor) -> None:
        if executor.execute(_UNSETTLED, self._of_session).first() is not None:
            raise self._busy()

    def _busy(self) -> SessionBusyError:
        return SessionBusyError(
            "[flue] Session cannot be deleted while durable agent submissions are queued or running. "
            "Wait for accepted work to settle, then retry deletion.",
            meta={"sessionKey": self._key},
        )
