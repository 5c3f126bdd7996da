"""The statements on conversation streams, built once.

An append is one statement where the database has data-modifying CTEs. A statement keeps the snapshot that it took before it waited, so
its gates are locks and never a bare EXISTS: the stream row is locked first, then the submission row in a CTE that depends on the first,
and only what both locks let through is written. A lock that waited looks at the row again as it is then.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa

from flue_sqla.dialects import DialectImpl
from flue_sqla.models.tables import batches, streams, submissions
from flue_sqla.repositories.notifications import notification
from flue_sqla.repositories.per_dialect import PerDialect

PATH = sa.bindparam("of_path", type_=sa.Text())
PRODUCER = sa.bindparam("of_producer", type_=sa.Text())
EPOCH = sa.bindparam("of_epoch", type_=sa.BigInteger())
INCARNATION = sa.bindparam("of_incarnation", type_=sa.Text())
SEQUENCE = sa.bindparam("of_sequence", type_=sa.BigInteger())
SUBMISSION = sa.bindparam("of_submission", type_=sa.Text())
ATTEMPT = sa.bindparam("of_attempt", type_=sa.Text())
SETTLEMENT_ID = sa.bindparam("of_settlement_id", type_=sa.Text())
SETTLEMENT = sa.bindparam("of_settlement", type_=sa.Text())
DATA = sa.bindparam("of_data", type_=sa.Text())

WORK_COLUMNS = (
    submissions.c.submission_id,
    submissions.c.status,
    submissions.c.attempt_id,
    submissions.c.joined_into,
    submissions.c.session_key,
    submissions.c.settlement_record_id,
    submissions.c.settlement_record,
)
_PRODUCER_COLUMNS = (
    streams.c.identity_json,
    streams.c.next_offset,
    streams.c.producer_id,
    streams.c.producer_epoch,
    streams.c.incarnation,
    streams.c.next_producer_sequence,
)
_EARLIER_COLUMNS = (
    batches.c.seq.label("earlier_seq"),
    batches.c.data.label("earlier_data"),
    batches.c.submission_id.label("earlier_submission_id"),
    batches.c.attempt_id.label("earlier_attempt_id"),
)
_IS_EARLIER = sa.and_(batches.c.producer_id == PRODUCER, batches.c.producer_epoch == EPOCH, batches.c.producer_sequence == SEQUENCE)

# -- streams ------------------------------------------------------------------------------------------------------------------------

META = sa.select(*_PRODUCER_COLUMNS).where(streams.c.path == PATH)
PATHS = sa.select(streams.c.path).order_by(streams.c.path).limit(sa.bindparam("fetch", type_=sa.Integer()))
PATHS_AFTER = PATHS.where(streams.c.path > PATH)
LOCKED_STREAM = META.with_for_update()
LOCKED_IDENTITY = sa.select(streams.c.identity_json).where(streams.c.path == PATH).with_for_update()
HEAD = sa.select(streams.c.next_offset).where(streams.c.path == PATH)
ACQUIRE = (
    sa.update(streams)
    .where(streams.c.path == PATH)
    .values(producer_id=PRODUCER, producer_epoch=streams.c.producer_epoch + 1, next_producer_sequence=0)
)
ACQUIRE_RETURNING = ACQUIRE.returning(*_PRODUCER_COLUMNS)


def _create_in_one(dialect: DialectImpl) -> sa.Select[Any]:
    insert = dialect.insert_ignore(streams).values(path=PATH, identity_json=sa.bindparam("of_identity"), incarnation=INCARNATION)
    made = insert.returning(streams.c.identity_json).cte("made")
    # One statement has one snapshot: the second part sees the stream only if it existed before.
    existing = sa.select(streams.c.identity_json).where(streams.c.path == PATH)
    either = sa.union_all(sa.select(made.c.identity_json), existing).subquery("either")
    return sa.select(either.c.identity_json)


CREATE = PerDialect(lambda dialect: dialect.insert_ignore(streams))
CREATE_IN_ONE = PerDialect(_create_in_one)
"""Insert the stream and answer with the identity that is stored then; no row when another creator was a moment faster."""

# -- append -------------------------------------------------------------------------------------------------------------------------

EARLIER = sa.select(*_EARLIER_COLUMNS).where(batches.c.path == PATH, _IS_EARLIER)
NEWEST_EARLIER = EARLIER.with_for_update(read=True)
"""Also what a host's older snapshot does not show (MySQL's default isolation)."""
LOCKED_WORK = (
    sa.select(*WORK_COLUMNS)
    .where(submissions.c.submission_id.in_(sa.bindparam("of_submissions", expanding=True)))
    # A host was admitted before its deliveries, so this is also the contract's lock order (spec/submissions.md §9).
    .order_by(submissions.c.sequence)
    .with_for_update()
)
INSERT_BATCH = sa.insert(batches)
_ADVANCED = sa.update(streams).values(next_offset=streams.c.next_offset + 1, next_producer_sequence=streams.c.next_producer_sequence + 1)
ADVANCE = _ADVANCED.where(streams.c.path == PATH)
NOTIFY = sa.select(notification())
LOOK = (
    sa.select(*_PRODUCER_COLUMNS, *_EARLIER_COLUMNS, *WORK_COLUMNS)
    .select_from(
        streams.outerjoin(batches, sa.and_(batches.c.path == streams.c.path, _IS_EARLIER)).outerjoin(
            submissions, submissions.c.submission_id == SUBMISSION
        )
    )
    .where(streams.c.path == PATH)
)
"""Everything that decides about an append whose records belong to one submission at most, without a lock."""


def _default_lane(identity_json: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """The session key of the default lane of the stream's identity, from the stored text ``{"agentName":"a","instanceId":"b"}``.

    Safe as text: a quote inside a JSON string is escaped, so neither key can occur in a name. An identity written otherwise gives a text
    that no session key equals; the look in Python decides then.
    """
    names = sa.func.left(sa.func.substr(identity_json, len('{"agentName":') + 1), -1)
    return "agent-session:[" + sa.func.replace(names, ',"instanceId":', ",") + ',"default","default"]'


@cache
def append_in_one(*, owned: bool, notifying: bool) -> sa.Select[Any]:
    """Append when every check holds, else return no row; ``owned`` also authorizes the submission."""
    permitted = (
        sa.select(streams.c.path, streams.c.identity_json)
        .where(
            streams.c.path == PATH,
            streams.c.producer_id == PRODUCER,
            streams.c.producer_epoch == EPOCH,
            streams.c.incarnation == INCARNATION,
            streams.c.next_producer_sequence == SEQUENCE,
        )
        .with_for_update()
        .cte("held")
        .prefix_with("MATERIALIZED")
    )
    if owned:
        permitted = _authorized(permitted)
    moved = (
        _ADVANCED.where(streams.c.path == permitted.c.path).returning(streams.c.path, (streams.c.next_offset - 1).label("seq")).cte("moved")
    )
    written = _insert_from(moved, owned=owned).returning(batches.c.seq).cte("written")
    columns: list[sa.ColumnElement[Any]] = [written.c.seq]
    if notifying:
        columns.append(notification())
    return sa.select(*columns)


def _authorized(held: sa.CTE) -> sa.CTE:
    """spec/streams.md §3.4 for a batch whose owned records all carry the authorization itself."""
    reserved = sa.and_(
        submissions.c.status == "terminalizing",
        submissions.c.settlement_record_id == SETTLEMENT_ID,
        submissions.c.settlement_record == SETTLEMENT,
    )
    return (
        sa.select(held.c.path)
        .select_from(held.join(submissions, submissions.c.submission_id == SUBMISSION))
        .where(
            submissions.c.attempt_id == ATTEMPT,
            submissions.c.session_key == _default_lane(held.c.identity_json),
            sa.or_(submissions.c.status == "running", reserved),
        )
        .with_for_update(of=submissions)
        .cte("permitted")
        .prefix_with("MATERIALIZED")
    )


def _insert_from(moved: sa.CTE, *, owned: bool) -> Any:
    names = ["path", "seq", "producer_id", "producer_epoch", "producer_sequence", "data"]
    values: list[Any] = [moved.c.path, moved.c.seq, PRODUCER, EPOCH, SEQUENCE, DATA]
    if owned:
        names += ["submission_id", "attempt_id"]
        values += [SUBMISSION, ATTEMPT]
    return sa.insert(batches).from_select(names, sa.select(*values))


# -- read ---------------------------------------------------------------------------------------------------------------------------


def _page() -> sa.Select[Any]:
    following = (
        sa.select(batches.c.path, batches.c.seq, batches.c.data)
        .where(batches.c.path == PATH, batches.c.seq > sa.bindparam("after", type_=sa.BigInteger()))
        .order_by(batches.c.seq)
        .limit(sa.bindparam("fetch", type_=sa.Integer()))
        .subquery("following")
    )
    return (
        sa.select(streams.c.next_offset, following.c.seq, following.c.data)
        .select_from(streams.outerjoin(following, following.c.path == streams.c.path))
        .where(streams.c.path == PATH)
        .order_by(following.c.seq)
    )


PAGE = _page()
"""The head together with the batches after an offset; a single row without a batch when there are none."""
