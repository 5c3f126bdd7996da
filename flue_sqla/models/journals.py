"""Turn journals, buffered stream segments and attempt markers (spec/schema.md §4.4, §4.5)."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Mapped, mapped_column

from flue_sqla.models.base import TABLE_OPTIONS, Base, big_integer, flag_integer, long_text, short_ascii, short_text, small_integer

__all__ = ["AttemptMarker", "StreamChunk", "TurnJournal"]


class TurnJournal(Base):
    """How far the current turn of a submission got. ``committed`` is 0 or 1, an integer on every database."""

    __tablename__ = "flue_agent_turn_journals"
    __table_args__ = (TABLE_OPTIONS,)

    submission_id: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    session_key: Mapped[str] = mapped_column(short_text(512))
    kind: Mapped[str] = mapped_column(short_ascii(16))
    attempt_id: Mapped[str] = mapped_column(short_text(255))
    operation_id: Mapped[str] = mapped_column(short_text(255))
    turn_id: Mapped[str] = mapped_column(short_text(255))
    phase: Mapped[str] = mapped_column(short_ascii(32))
    revision: Mapped[int] = mapped_column(small_integer())
    created_at: Mapped[int] = mapped_column(big_integer())
    updated_at: Mapped[int] = mapped_column(big_integer())
    checkpoint_leaf_id: Mapped[str | None] = mapped_column(short_text(255))
    tool_request_json: Mapped[str | None] = mapped_column(long_text())
    stream_key: Mapped[str | None] = mapped_column(short_text(512))
    stream_consumed_at: Mapped[int | None] = mapped_column(big_integer())
    committed: Mapped[int] = mapped_column(flag_integer(), server_default=text("0"))
    committed_leaf_id: Mapped[str | None] = mapped_column(short_text(255))


class StreamChunk(Base):
    """A buffered segment of a model's answer."""

    __tablename__ = "flue_agent_stream_chunks"
    __table_args__ = (TABLE_OPTIONS,)

    stream_key: Mapped[str] = mapped_column(short_text(512), primary_key=True)
    segment_index: Mapped[int] = mapped_column(small_integer(), primary_key=True, autoincrement=False)
    body: Mapped[str] = mapped_column(long_text())


class AttemptMarker(Base):
    """Says that an attempt was under way when its process ended."""

    __tablename__ = "flue_agent_attempt_markers"
    __table_args__ = (TABLE_OPTIONS,)

    submission_id: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    attempt_id: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    created_at: Mapped[int] = mapped_column(big_integer())
