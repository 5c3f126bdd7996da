"""Workflow runs (spec/schema.md §4.6)."""

from __future__ import annotations

from sqlalchemy import Index, Integer
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, mapped_column

from flue_sqla.models.base import TABLE_OPTIONS, Base, Flag, bytewise_text, long_text, short_ascii, short_text

__all__ = ["Run"]


class Run(Base):
    """One workflow run. The run's input stands in ``payload``; times are ISO-8601 text and ordered as text."""

    __tablename__ = "flue_runs"

    run_id: Mapped[str] = mapped_column(bytewise_text(255), primary_key=True)
    workflow_name: Mapped[str] = mapped_column(short_text(255))
    status: Mapped[str] = mapped_column(short_ascii(16))
    started_at: Mapped[str] = mapped_column(short_ascii(64, bytewise=True))
    payload: Mapped[str | None] = mapped_column(long_text())
    traceparent: Mapped[str | None] = mapped_column(short_ascii(255))
    tracestate: Mapped[str | None] = mapped_column(long_text())
    ended_at: Mapped[str | None] = mapped_column(short_ascii(64))
    is_error: Mapped[bool | None] = mapped_column(Flag())
    duration_ms: Mapped[int | None] = mapped_column(Integer().with_variant(mysql.BIGINT(), "mysql", "mariadb"))
    result: Mapped[str | None] = mapped_column(long_text())
    error: Mapped[str | None] = mapped_column(long_text())

    __table_args__ = (
        # One index for each filter of runs.list, each in the order of the listing, so that every page costs the same.
        Index("flue_runs_started_idx", started_at.desc(), run_id.desc()),
        Index("flue_runs_status_started_idx", status, started_at.desc(), run_id.desc()),
        Index("flue_runs_workflow_started_idx", workflow_name, started_at.desc(), run_id.desc()),
        Index("flue_runs_workflow_status_started_idx", workflow_name, status, started_at.desc(), run_id.desc()),
        Index("flue_runs_status_ended_idx", status, ended_at),
        TABLE_OPTIONS,
    )
