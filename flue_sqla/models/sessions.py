"""Agent sessions and their spilled images (spec/schema.md §4.1, §4.2), and session deletions and receipts (§4.5).

Flue 2 dropped these tables; ours live beside a Flue 2 server. The columns after the spec's own are nullable: a row that an older
writer made has none of them and is still read right.
"""

from __future__ import annotations

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from flue_sqla.models.base import TABLE_OPTIONS, Base, big_integer, long_text, short_ascii, short_text, small_integer

__all__ = ["AgentSession", "AgentSessionEntry", "DispatchReceipt", "ImageChunk", "SessionDeletion"]


class AgentSession(Base):
    """The head of one session document. The leaf, the number of entries and the digest over all of them spare re-reading the entries."""

    __tablename__ = "flue_sessions"
    __table_args__ = (TABLE_OPTIONS,)

    id: Mapped[str] = mapped_column(short_text(512), primary_key=True)
    data: Mapped[str] = mapped_column(long_text())
    leaf_id: Mapped[str | None] = mapped_column(short_text(255))
    entry_count: Mapped[int | None] = mapped_column(small_integer())
    prefix_digest: Mapped[str | None] = mapped_column(short_ascii(64))


class AgentSessionEntry(Base):
    """One message or compaction of a session. ``kind`` is NULL for a message, which most entries are."""

    __tablename__ = "flue_session_entries"

    session_id: Mapped[str] = mapped_column(short_text(512), primary_key=True)
    entry_id: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    position: Mapped[int] = mapped_column(small_integer())
    data: Mapped[str] = mapped_column(long_text())
    parent_id: Mapped[str | None] = mapped_column(short_text(255))
    kind: Mapped[str | None] = mapped_column(short_text(128))
    digest: Mapped[str | None] = mapped_column(short_ascii(64))

    __table_args__ = (
        Index("flue_session_entries_session_position_idx", session_id, position),
        # Finds the last compaction without walking the messages after it; small where an index can be partial.
        Index(
            "flue_session_entries_session_kind_position_idx",
            session_id,
            kind,
            position,
            postgresql_where=text("kind = 'compaction'"),
            sqlite_where=text("kind = 'compaction'"),
        ),
        TABLE_OPTIONS,
    )


class ImageChunk(Base):
    """A piece of an image that was taken out of a session entry or a G1 submission."""

    __tablename__ = "flue_image_chunks"
    __table_args__ = (TABLE_OPTIONS,)

    owner_kind: Mapped[str] = mapped_column(short_text(32), primary_key=True)
    owner_id: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    owner_part: Mapped[str] = mapped_column(short_text(128), primary_key=True)
    image_id: Mapped[str] = mapped_column(short_text(128), primary_key=True)
    chunk_index: Mapped[int] = mapped_column(small_integer(), primary_key=True, autoincrement=False)
    chunk_count: Mapped[int] = mapped_column(small_integer())
    data: Mapped[str] = mapped_column(long_text())


class SessionDeletion(Base):
    """A session that is being deleted and takes no new work."""

    __tablename__ = "flue_agent_session_deletions"
    __table_args__ = (TABLE_OPTIONS,)

    session_key: Mapped[str] = mapped_column(short_text(512), primary_key=True)
    started_at: Mapped[int] = mapped_column(big_integer())


class DispatchReceipt(Base):
    """What is left of a submission that was pruned or deleted: a redelivery finds it and does not run again.

    ``kept_until`` is the time after which prune may drop the receipt (NULL: judged by ``accepted_at``); ``session_key`` says where the
    submission belonged. Receipts of other writers have neither.
    """

    __tablename__ = "flue_agent_dispatch_receipts"

    dispatch_id: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    accepted_at: Mapped[int] = mapped_column(big_integer())
    kept_until: Mapped[int | None] = mapped_column(big_integer())
    session_key: Mapped[str | None] = mapped_column(short_text(512))

    __table_args__ = (
        Index("flue_agent_dispatch_receipts_accepted_at_idx", accepted_at),
        Index("flue_agent_dispatch_receipts_kept_until_idx", kept_until),
        TABLE_OPTIONS,
    )
