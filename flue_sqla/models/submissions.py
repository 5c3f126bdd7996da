"""Accepted work: submissions, their spilled images and the session locks of MySQL (spec/schema.md §3.2 to §3.4)."""

from __future__ import annotations

from sqlalchemy import Identity, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from flue_sqla.models.base import (
    TABLE_OPTIONS,
    Base,
    big_integer,
    long_text,
    only_in,
    short_ascii,
    short_text,
    small_integer,
    unsigned_integer,
)

__all__ = ["SessionLock", "Submission", "SubmissionChunk"]


class Submission(Base):
    """One accepted unit of work; ``sequence`` is the order of admission and is only ever given by the database."""

    __tablename__ = "flue_agent_submissions"

    sequence: Mapped[int] = mapped_column(unsigned_integer(), Identity(always=True), primary_key=True)
    submission_id: Mapped[str] = mapped_column(short_text(255))
    session_key: Mapped[str] = mapped_column(short_text(512))
    kind: Mapped[str] = mapped_column(short_ascii(16))
    payload: Mapped[str] = mapped_column(long_text())
    status: Mapped[str] = mapped_column(short_ascii(16))
    accepted_at: Mapped[int] = mapped_column(big_integer())
    canonical_ready_at: Mapped[int | None] = mapped_column(big_integer())
    attempt_id: Mapped[str | None] = mapped_column(short_text(255))
    input_applied_at: Mapped[int | None] = mapped_column(big_integer())
    abort_requested_at: Mapped[int | None] = mapped_column(big_integer())
    started_at: Mapped[int | None] = mapped_column(big_integer())
    joined_into: Mapped[str | None] = mapped_column(short_text(255))
    settled_at: Mapped[int | None] = mapped_column(big_integer())
    error: Mapped[str | None] = mapped_column(long_text())
    attempt_count: Mapped[int] = mapped_column(small_integer(), server_default=text("0"))
    max_attempts: Mapped[int] = mapped_column(small_integer(), server_default=text("10"))
    timeout_at: Mapped[int] = mapped_column(big_integer(), server_default=text("0"))
    owner_id: Mapped[str | None] = mapped_column(short_text(255))
    lease_expires_at: Mapped[int] = mapped_column(big_integer(), server_default=text("0"))
    settlement_record_id: Mapped[str | None] = mapped_column(short_text(512))
    settlement_record: Mapped[str | None] = mapped_column(long_text())

    __table_args__ = (
        UniqueConstraint(submission_id),
        Index("flue_agent_submissions_status_sequence_idx", status, sequence),
        Index("flue_agent_submissions_session_status_sequence_idx", session_key, status, sequence),
        Index(
            "flue_agent_submissions_joined_into_idx",
            joined_into,
            postgresql_where=text("joined_into IS NOT NULL"),
            sqlite_where=text("joined_into IS NOT NULL"),
        ),
        # AUTOINCREMENT matters: a sequence number must never be used again after its row was pruned.
        {**TABLE_OPTIONS, "sqlite_autoincrement": True},
    )


class SubmissionChunk(Base):
    """A piece of an image that was taken out of a submission's payload."""

    __tablename__ = "flue_submission_chunks"
    __table_args__ = (TABLE_OPTIONS,)

    submission_id: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    item_id: Mapped[str] = mapped_column(short_text(128), primary_key=True)
    chunk_index: Mapped[int] = mapped_column(small_integer(), primary_key=True, autoincrement=False)
    chunk_count: Mapped[int] = mapped_column(small_integer())
    data: Mapped[str] = mapped_column(long_text())


class SessionLock(Base):
    """MySQL only: one row per session ever locked, never deleted (spec/schema.md §3.4)."""

    __tablename__ = "flue_agent_session_locks"
    __table_args__ = ({**TABLE_OPTIONS, "info": only_in("mysql")},)

    session_key: Mapped[str] = mapped_column(short_text(512), primary_key=True)
