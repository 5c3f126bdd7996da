"""Looking at submissions without their payloads: what a worker's heartbeat and a waiting caller need to know."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from flue_sqla.models.tables import dispatch_receipts, submissions
from flue_sqla.records.outcome import Holding, SettledRow
from flue_sqla.repositories.batching import in_batches
from flue_sqla.repositories.submissions.base import SubmissionPart
from flue_sqla.repositories.submissions.rows import record_of

__all__ = ["WatchingPart"]

_s = submissions
_HOLDING = sa.select(
    _s.c.submission_id, _s.c.status, _s.c.attempt_id, _s.c.owner_id, _s.c.lease_expires_at, _s.c.abort_requested_at, _s.c.timeout_at
).where(_s.c.submission_id.in_(sa.bindparam("ids", expanding=True)))
_SETTLED_ROW = sa.select(
    _s.c.submission_id,
    _s.c.session_key,
    _s.c.kind,
    _s.c.status,
    _s.c.joined_into,
    _s.c.settled_at,
    _s.c.error,
    _s.c.abort_requested_at,
    _s.c.settlement_record,
).where(_s.c.submission_id == sa.bindparam("id"))
_RECEIPT = sa.select(dispatch_receipts.c.accepted_at).where(dispatch_receipts.c.dispatch_id == sa.bindparam("id"))


class WatchingPart(SubmissionPart):
    """Reads that leave payloads and chunks where they are."""

    def holdings(self, submission_ids: Sequence[str]) -> dict[str, Holding]:
        """Who holds each of these submissions, and whether it is to end, by id; unknown ones are left out.

        Up to 500 in one statement.
        """
        if not submission_ids:
            return {}
        ids = [self._key("submission_id", submission_id) for submission_id in submission_ids]
        found: dict[str, Holding] = {}
        for some in in_batches(ids):
            rows = self._scope.read(lambda executor, ids=some: executor.execute(_HOLDING, {"ids": ids}).all())  # type: ignore[misc]
            found.update((row.submission_id, Holding.model_construct(**row._mapping)) for row in rows)
        return found

    def settled_row(self, submission_id: str) -> SettledRow | None:
        """The status of a submission and what its row says of the outcome; None if there is no such row."""
        self._key("submission_id", submission_id)
        row = self._scope.read(lambda executor: executor.execute(_SETTLED_ROW, {"id": submission_id}).first())
        if row is None:
            return None
        values = dict(row._mapping)
        return SettledRow.model_construct(**values, record=record_of(values.pop("settlement_record")))

    def has_receipt(self, submission_id: str) -> bool:
        """Whether a submission of this id ran and its row was pruned or deleted since."""
        self._key("submission_id", submission_id)
        return self._scope.read(lambda executor: executor.execute(_RECEIPT, {"id": submission_id}).first()) is not None
