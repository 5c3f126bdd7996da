"""Indexes that differ between the profiles; those that are the same everywhere stand with their model."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Index, MetaData, Table, and_

__all__ = ["add_profile_indexes"]


def add_profile_indexes(metadata: MetaData, profile: str, schema: str | None) -> None:
    """Add the indexes of one profile to its own copy of the tables."""
    submissions = Table("flue_agent_submissions", metadata, schema=schema)
    {"postgres": _postgres, "sqlite": _sqlite, "mysql": _mysql}[profile](submissions)


def _postgres(submissions: Table) -> None:
    # The lane index is what claim_next walks from one session to the next: its order must be that of the bytes, because an agent's
    # sessions are the keys with one byte prefix. The collation is given where an operator class would stand, and not as an expression,
    # because reflection leaves it out of the index's columns: Alembic would see a different index for ever.
    column = submissions.c
    Index(
        "flue_agent_submissions_queued_lane_idx",
        column.session_key,
        column.sequence,
        postgresql_ops={"session_key": 'COLLATE "C"'},
        postgresql_where=_claimable(submissions),
    )
    # What still has a future in one session, however long its past: whether a row is the head is one probe.
    Index(
        "flue_agent_submissions_unsettled_idx",
        column.session_key,
        column.sequence,
        postgresql_where=column.status != "settled",
    )
    Index(
        "flue_agent_submissions_settled_idx",
        column.settled_at,
        column.sequence,
        postgresql_where=column.status == "settled",
    )


def _claimable(submissions: Table) -> ColumnElement[bool]:
    return and_(submissions.c.status == "queued", submissions.c.canonical_ready_at.is_not(None))


def _sqlite(submissions: Table) -> None:
    column = submissions.c
    # The status leads although it is the same in every entry: without statistics SQLite prefers an index with an equality to a range.
    Index(
        "flue_agent_submissions_queued_lane_idx", column.status, column.session_key, column.sequence, sqlite_where=_claimable(submissions)
    )
    Index("flue_agent_submissions_settled_idx", column.settled_at, column.sequence, sqlite_where=column.status == "settled")


def _mysql(submissions: Table) -> None:
    # No partial indexes: the status leads instead.
    column = submissions.c
    Index("flue_agent_submissions_queued_lane_idx", column.status, column.session_key, column.sequence)
    Index("flue_agent_submissions_settled_idx", column.status, column.settled_at, column.sequence)
