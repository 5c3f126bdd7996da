"""Buffered pieces of a model's answer (spec/submissions.md §15)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from flue_sqla.models.tables import stream_chunks
from flue_sqla.records.journal import StreamSegment
from flue_sqla.repositories.journals.base import JournalPart
from flue_sqla.repositories.per_dialect import PerDialect
from flue_sqla.repositories.scope import Executor
from flue_sqla.wire import require_integer, require_storable

__all__ = ["SegmentPart"]

_c = stream_chunks.c
_OF_KEY = _c.stream_key == sa.bindparam("of_key", type_=sa.Text())
_INSERT: PerDialect[Any] = PerDialect(lambda dialect: dialect.insert_ignore(stream_chunks))
_LIST = sa.select(_c.segment_index, _c.body).where(_OF_KEY).order_by(_c.segment_index)
_BODY = sa.select(_c.body).where(_OF_KEY, _c.segment_index == sa.bindparam("of_index", type_=sa.Integer()))
_DELETE = sa.delete(stream_chunks).where(_OF_KEY)


class SegmentPart(JournalPart):
    """Segments by stream key (``<submissionId>:<turnId>:<attemptId>``) and index."""

    def append_segment(self, key: str, index: int, body: str) -> bool:
        """Store one segment; an index that exists keeps its first body.

        Args:
            index: 0, 1, 2, …
            body: a JSON array of compact provider events, kept verbatim.

        Returns:
            False when the index exists; a writer takes that as a sign that it is not alone, and stops.
        """
        self._check(stream_key=key)
        require_integer(index, "index", bits=31)
        values = {"stream_key": key, "segment_index": index, "body": require_storable(body, "body")}

        def insert(executor: Executor) -> bool:
            self._scope.dialect.check_packet(executor, body)
            return executor.execute(_INSERT(self._scope.dialect), values).rowcount == 1

        def arrived(executor: Executor) -> bool:
            return executor.execute(_BODY, {"of_key": key, "of_index": index}).scalar() == body

        return self._scope.single(insert, confirm=arrived)

    def segments(self, key: str) -> list[StreamSegment]:
        """The stored segments, by index."""
        self._check(stream_key=key)
        rows = self._scope.read(lambda executor: executor.execute(_LIST, {"of_key": key}).all())
        return [StreamSegment.model_construct(segment_index=row.segment_index, body=row.body) for row in rows]

    def delete_segments(self, key: str) -> None:
        """Remove all segments of ``key``, if any."""
        self._check(stream_key=key)
        self._scope.single(lambda executor: executor.execute(_DELETE, {"of_key": key}).close())
