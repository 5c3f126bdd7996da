"""Canonical conversation streams, their batches and fold checkpoints (spec/schema.md §3.5 to §3.8)."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from flue_sqla.models.base import TABLE_OPTIONS, Base, big_integer, long_text, nullable_in, only_in, short_ascii, short_text, small_integer

__all__ = ["ConversationBatch", "ConversationBatchChunk", "ConversationStream", "FoldCheckpoint", "FoldCheckpointChunk"]


class ConversationStream(Base):
    """The head of one instance's conversation: next offset and the producer that may append."""

    __tablename__ = "flue_conversation_streams"
    __table_args__ = (TABLE_OPTIONS,)

    path: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    identity_json: Mapped[str] = mapped_column(long_text())
    next_offset: Mapped[int] = mapped_column(big_integer(), server_default=text("0"))
    producer_id: Mapped[str | None] = mapped_column(short_text(128))
    producer_epoch: Mapped[int] = mapped_column(big_integer(), server_default=text("0"))
    next_producer_sequence: Mapped[int] = mapped_column(big_integer(), server_default=text("0"))
    incarnation: Mapped[str] = mapped_column(short_text(255))


class ConversationBatch(Base):
    """One appended batch of records, as the JSON array that was appended."""

    __tablename__ = "flue_conversation_stream_batches"

    path: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    seq: Mapped[int] = mapped_column(big_integer(), primary_key=True, autoincrement=False)
    producer_id: Mapped[str] = mapped_column(short_text(128))
    producer_epoch: Mapped[int] = mapped_column(big_integer())
    producer_sequence: Mapped[int] = mapped_column(big_integer())
    data: Mapped[str] = mapped_column(long_text())
    submission_id: Mapped[str | None] = mapped_column(short_text(255))
    attempt_id: Mapped[str | None] = mapped_column(short_text(255))

    __table_args__ = (
        UniqueConstraint(
            path,
            producer_id,
            producer_epoch,
            producer_sequence,
            # What PostgreSQL makes of the table and column names in 63 bytes.
            name="flue_conversation_stream_batc_path_producer_id_producer_epo_key",
            info=only_in("postgres", "sqlite"),
        ),
        UniqueConstraint(
            path,
            producer_id,
            producer_epoch,
            producer_sequence,
            name="flue_conversation_stream_batches_producer_idx",
            info=only_in("mysql"),
        ),
        TABLE_OPTIONS,
    )


class ConversationBatchChunk(Base):
    """SQLite only: what of a batch exceeds 1 MiB of UTF-16 (spec/streams.md §3.6)."""

    __tablename__ = "flue_conversation_stream_batch_chunks"
    __table_args__ = (
        CheckConstraint("chunk_index >= 0", name="chunk_index"),
        CheckConstraint("chunk_count > 0", name="chunk_count"),
        {**TABLE_OPTIONS, "info": only_in("sqlite")},
    )

    path: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    seq: Mapped[int] = mapped_column(big_integer(), primary_key=True, autoincrement=False)
    chunk_index: Mapped[int] = mapped_column(small_integer(), primary_key=True, autoincrement=False)
    chunk_count: Mapped[int] = mapped_column(small_integer())
    data: Mapped[str] = mapped_column(long_text())


class FoldCheckpoint(Base):
    """The folded state of a stream up to ``head_offset``; only ever a shortcut, never the truth."""

    __tablename__ = "flue_conversation_fold_checkpoints"
    __table_args__ = (TABLE_OPTIONS,)

    path: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    head_offset: Mapped[str] = mapped_column(short_ascii(64))
    incarnation: Mapped[str] = mapped_column(short_text(255))
    format_version: Mapped[int] = mapped_column(big_integer())
    data: Mapped[str | None] = mapped_column(long_text(), info=nullable_in("sqlite"))
    chunk_count: Mapped[int | None] = mapped_column(small_integer(), info=only_in("sqlite"))


class FoldCheckpointChunk(Base):
    """SQLite only: the pieces of a checkpoint that is too long for one row."""

    __tablename__ = "flue_conversation_fold_checkpoint_chunks"
    __table_args__ = (
        CheckConstraint("chunk_index >= 0", name="chunk_index"),
        {**TABLE_OPTIONS, "info": only_in("sqlite")},
    )

    path: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    chunk_index: Mapped[int] = mapped_column(small_integer(), primary_key=True, autoincrement=False)
    data: Mapped[str] = mapped_column(long_text())
