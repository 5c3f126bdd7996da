"""Attempts that are under way (spec/submissions.md §16)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from flue_sqla.models.tables import attempt_markers
from flue_sqla.records.journal import AttemptMarker
from flue_sqla.records.submission import Attempt
from flue_sqla.repositories.journals.base import JournalPart
from flue_sqla.repositories.per_dialect import PerDialect

__all__ = ["MarkerPart"]

_m = attempt_markers.c
_INSERT: PerDialect[Any] = PerDialect(lambda dialect: dialect.insert_ignore(attempt_markers))
_DELETE = sa.delete(attempt_markers).where(_m.submission_id == sa.bindparam("of_submission"), _m.attempt_id == sa.bindparam("of_attempt"))
_LIST = sa.select(_m.submission_id, _m.attempt_id, _m.created_at).order_by(_m.created_at, _m.submission_id, _m.attempt_id)


class MarkerPart(JournalPart):
    """A marker says that an attempt was under way when its process ended."""

    def insert_marker(self, attempt: Attempt) -> None:
        """Mark the attempt; one that is marked keeps its first time."""
        self._check(submission_id=attempt.submission_id, attempt_id=attempt.attempt_id)
        values = {"submission_id": attempt.submission_id, "attempt_id": attempt.attempt_id, "created_at": self._scope.clock.now()}
        self._scope.single(lambda executor: executor.execute(_INSERT(self._scope.dialect), values).close())

    def delete_marker(self, attempt: Attempt) -> None:
        """Remove the marker of exactly this attempt, if there is one."""
        self._check(submission_id=attempt.submission_id, attempt_id=attempt.attempt_id)
        parameters = {"of_submission": attempt.submission_id, "of_attempt": attempt.attempt_id}
        self._scope.single(lambda executor: executor.execute(_DELETE, parameters).close())

    def list_markers(self) -> list[AttemptMarker]:
        """All markers, oldest first."""
        rows = self._scope.read(lambda executor: executor.execute(_LIST).all())
        return [AttemptMarker.model_construct(**row._mapping) for row in rows]
