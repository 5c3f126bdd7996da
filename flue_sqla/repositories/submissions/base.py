"""What the parts of the submission repository share."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import sqlalchemy as sa

from flue_sqla.models.tables import submissions
from flue_sqla.records.submission import Attempt, Submission
from flue_sqla.repositories.notifications import notification, notification_of, notifies
from flue_sqla.repositories.per_dialect import PerDialect
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.repositories.submissions.rows import StoredRow, columns, grouped, newest_with_chunks, parse, with_chunks
from flue_sqla.signals import QUEUE_TOPIC, settled_topic
from flue_sqla.wire import require_storable

__all__ = ["SubmissionPart", "Transition"]

_BY_ID = with_chunks(submissions).where(submissions.c.submission_id == sa.bindparam("id"))
_NEWEST_BY_ID = PerDialect(lambda dialect: newest_with_chunks(dialect, _BY_ID))


class Transition:
    """A conditional UPDATE of one submission that answers with the row as it is afterwards.

    One statement where the database has data-modifying CTEs; elsewhere the UPDATE and, if its gate held, a second look.
    """

    def __init__(self, update: sa.Update) -> None:
        self._update = update
        changed = with_chunks(update.returning(*columns()).cte("changed"))
        self._silent = changed
        self._notifying = changed.add_columns(notification("queue_payload"))

    def run(self, part: SubmissionPart, executor: Executor, parameters: dict[str, Any]) -> StoredRow | None:
        """The changed row, or None when the gate failed. ``parameters["id"]`` is the submission."""
        if not part._dialect.single_statement:
            if executor.execute(self._update, parameters).rowcount != 1:
                return None
            return part._row(executor, parameters["id"], newest=part._scope.in_transaction)
        if part._notifies:
            parameters = {**parameters, **part._queue_notification}
        rows = grouped(executor.execute(self._notifying if part._notifies else self._silent, parameters))
        return rows[0] if rows else None


class SubmissionPart:
    """One part of :class:`~flue_sqla.repositories.submissions.Submissions`."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._dialect = scope.dialect

    def _now(self) -> int:
        return self._scope.clock.now()

    @cached_property
    def _notifies(self) -> bool:
        """Whether statements tell other processes about themselves."""
        return notifies(self._scope)

    @cached_property
    def _queue_notification(self) -> dict[str, str]:
        """Parameters of :func:`notification` for the queue."""
        return notification_of(self._scope, QUEUE_TOPIC, "queue_payload")

    def _settled_notification(self, submission_id: str) -> dict[str, str]:
        """Parameters of the notifications that a settlement sends."""
        return {**self._queue_notification, **notification_of(self._scope, settled_topic(submission_id), "settled_payload")}

    def _row(self, executor: Executor, submission_id: str, *, newest: bool = False) -> StoredRow | None:
        """The stored row with its chunks, or None; ``newest`` locks it, and so sees it in a host's older snapshot too."""
        statement = _NEWEST_BY_ID(self._dialect) if newest else _BY_ID
        rows = grouped(executor.execute(statement, {"id": submission_id}))
        return rows[0] if rows else None

    def _key(self, column: str, value: str) -> str:
        """``value``, if this database can hold it in ``column`` and tell it from every other one.

        A number must not get through: MySQL takes 0 for every text that does not begin with a digit.
        """
        self._dialect.check_key(column, require_storable(value, column))
        return value

    def _gate(self, attempt: Attempt) -> dict[str, str]:
        """The parameters that name a submission and the attempt that owns it."""
        return {"id": self._key("submission_id", attempt.submission_id), "attempt": self._key("attempt_id", attempt.attempt_id)}

    def _wake_queue(self) -> None:
        self._scope.after_commit(lambda: self._scope.signals.publish(QUEUE_TOPIC))

    def _wake_settled(self, submission_id: str) -> None:
        self._wake_queue()
        self._scope.after_commit(lambda: self._scope.signals.publish(settled_topic(submission_id)))

    @staticmethod
    def _parsed(row: StoredRow | None) -> Submission | None:
        return None if row is None else parse(row)
