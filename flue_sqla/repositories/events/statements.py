"""The statements on event streams, built once (spec/streams.md §10).

Every append updates the stream's row first: that row is what appends and the close of one stream queue for, and it is held until the
commit. So events become visible in the order of their numbers, with no gap that a reader could step over and none after the close.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa

from flue_sqla.models.tables import event_entries, event_streams
from flue_sqla.repositories.notifications import notification
from flue_sqla.repositories.per_dialect import PerDialect

PATH = sa.bindparam("of_path", type_=sa.Text())
DATA = sa.bindparam("of_data", type_=sa.Text())
KEY = sa.bindparam("of_key", type_=sa.Text())

CREATE: PerDialect[Any] = PerDialect(lambda dialect: dialect.insert_ignore(event_streams).values(path=PATH))
META = sa.select(event_streams.c.next_offset, event_streams.c.closed).where(event_streams.c.path == PATH)
LOCKED_META = META.with_for_update()

CLOSE = sa.update(event_streams).where(event_streams.c.path == PATH).values(closed=True)

ADVANCE = (
    sa.update(event_streams)
    .where(event_streams.c.path == PATH, event_streams.c.closed == sa.false())
    .values(next_offset=event_streams.c.next_offset + 1)
)
INSERT = sa.insert(event_entries)

LOCKED_KEYED = (
    sa.select(event_entries.c.seq, event_entries.c.data)
    .where(event_entries.c.path == PATH, event_entries.c.event_key == KEY)
    .with_for_update()
)
NOTIFY = sa.select(notification())


@cache
def append_in_one(*, keyed: bool, notifying: bool) -> sa.Select[Any]:
    """Take the next number of an open stream and insert the event, else return no row.

    ``keyed`` also wants the key to be unused. That part of the gate sees the statement's snapshot only: a key that was committed while
    the statement waited is refused by the unique index instead.
    """
    advance = ADVANCE
    if keyed:
        advance = advance.where(~sa.exists().where(event_entries.c.path == PATH, event_entries.c.event_key == KEY))
    moved = advance.returning(event_streams.c.path, (event_streams.c.next_offset - 1).label("seq")).cte("moved")
    names, values = ["path", "seq", "data"], [moved.c.path, moved.c.seq, DATA]
    if keyed:
        names.append("event_key")
        values.append(KEY)
    written = sa.insert(event_entries).from_select(names, sa.select(*values)).returning(event_entries.c.seq).cte("written")
    columns: list[sa.ColumnElement[Any]] = [written.c.seq]
    if notifying:
        columns.append(notification())
    return sa.select(*columns)


@cache
def close_in_one() -> sa.Select[Any]:
    """Close, and tell other processes when the stream exists."""
    closed = CLOSE.returning(event_streams.c.path).cte("closed_stream")
    return sa.select(closed.c.path, notification())


def _page() -> sa.Select[Any]:
    following = (
        sa.select(event_entries.c.path, event_entries.c.seq, event_entries.c.data)
        .where(event_entries.c.path == PATH, event_entries.c.seq > sa.bindparam("after", type_=sa.BigInteger()))
        .order_by(event_entries.c.seq)
        .limit(sa.bindparam("fetch", type_=sa.Integer()))
        .subquery("following")
    )
    return (
        sa.select(event_streams.c.next_offset, event_streams.c.closed, following.c.seq, following.c.data)
        .select_from(event_streams.outerjoin(following, following.c.path == event_streams.c.path))
        .where(event_streams.c.path == PATH)
        .order_by(following.c.seq)
    )


PAGE = _page()
"""The head together with the events after an offset, of one moment; a single row without an event when there are none."""

NEWEST = (
    sa.select(event_entries.c.seq, event_entries.c.data)
    .where(event_entries.c.path == PATH)
    .order_by(event_entries.c.seq.desc())
    .limit(sa.bindparam("fetch", type_=sa.Integer()))
)
OLDEST = sa.select(event_entries.c.seq, event_entries.c.data).where(event_entries.c.path == PATH).order_by(event_entries.c.seq).limit(1)
