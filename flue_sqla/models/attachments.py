"""Immutable attachments (spec/schema.md §3.9), and which of them are kept as artifacts."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from flue_sqla.models.base import (
    TABLE_OPTIONS,
    Base,
    big_integer,
    binary,
    bytewise_text,
    only_in,
    short_ascii,
    short_text,
    small_integer,
    unsigned_integer,
)

__all__ = ["Attachment", "AttachmentChunk", "OffloadedAttachment"]


class Attachment(Base):
    """One attachment. Its bytes stand in ``bytes``, or on SQLite in ``chunk_count`` rows of ``flue_attachment_chunks``."""

    __tablename__ = "flue_attachments"
    __table_args__ = (
        CheckConstraint("byte_size >= 0", name="byte_size", info=only_in("postgres", "sqlite")),
        CheckConstraint("chunk_count > 0", name="chunk_count", info=only_in("sqlite")),
        TABLE_OPTIONS,
    )

    stream_path: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    attachment_id: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    mime_type: Mapped[str] = mapped_column(short_text(255))
    byte_size: Mapped[int] = mapped_column(unsigned_integer())
    digest: Mapped[str] = mapped_column(short_ascii(128))
    conversation_id: Mapped[str] = mapped_column(short_text(255))
    content: Mapped[bytes] = mapped_column("bytes", binary(), info=only_in("postgres", "mysql"))
    chunk_count: Mapped[int] = mapped_column(small_integer(), info=only_in("sqlite"))
    created_at: Mapped[int] = mapped_column(big_integer())


class AttachmentChunk(Base):
    """SQLite only: the bytes of an attachment, in pieces."""

    __tablename__ = "flue_attachment_chunks"
    __table_args__ = (
        CheckConstraint("chunk_index >= 0", name="chunk_index"),
        ForeignKeyConstraint(
            ["stream_path", "attachment_id"],
            ["flue_attachments.stream_path", "flue_attachments.attachment_id"],
            ondelete="CASCADE",
        ),
        {**TABLE_OPTIONS, "info": only_in("sqlite")},
    )

    stream_path: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    attachment_id: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    chunk_index: Mapped[int] = mapped_column(small_integer(), primary_key=True, autoincrement=False)
    content: Mapped[bytes] = mapped_column("bytes", binary())


class OffloadedAttachment(Base):
    """An attachment whose bytes are those of an artifact. Ours; its row in ``flue_attachments`` has size and digest, and no bytes.

    A table of its own, because a Flue server shares the other one.
    """

    __tablename__ = "flue_offloaded_attachments"

    stream_path: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    attachment_id: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    artifact_id: Mapped[str] = mapped_column(bytewise_text(255))

    __table_args__ = (UniqueConstraint(artifact_id), TABLE_OPTIONS)
