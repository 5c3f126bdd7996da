"""Event streams of workflow runs (spec/schema.md §4.7).

On SQLite we keep the ``event_key`` column of the other profiles, where Flue 1's Node server had a table and a trigger of its own: no
Flue server that is alive reads these tables.
"""

from __future__ import annotations

from sqlalchemy import Index, false, text
from sqlalchemy.orm import Mapped, mapped_column

from flue_sqla.models.base import TABLE_OPTIONS, Base, Flag, big_integer, long_text, short_text

__all__ = ["EventStream", "EventStreamEntry"]


class EventStream(Base):
    """The head of one event stream."""

    __tablename__ = "flue_event_streams"
    __table_args__ = (TABLE_OPTIONS,)

    path: Mapped[str] = mapped_column(short_text(512), primary_key=True)
    next_offset: Mapped[int] = mapped_column(big_integer(), server_default=text("0"))
    closed: Mapped[bool] = mapped_column(Flag(), server_default=false())


class EventStreamEntry(Base):
    """One event; ``event_key`` is set for those appended once by key."""

    __tablename__ = "flue_event_stream_entries"

    path: Mapped[str] = mapped_column(short_text(512), primary_key=True)
    seq: Mapped[int] = mapped_column(big_integer(), primary_key=True, autoincrement=False)
    data: Mapped[str] = mapped_column(long_text())
    event_key: Mapped[str | None] = mapped_column(short_text(255))

    __table_args__ = (
        Index(
            "flue_event_stream_entries_path_event_key_idx",
            path,
            event_key,
            unique=True,
            postgresql_where=text("event_key IS NOT NULL"),
            sqlite_where=text("event_key IS NOT NULL"),
        ),
        TABLE_OPTIONS,
    )
