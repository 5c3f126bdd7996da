"""Artifacts: the rows that say which bytes lie in the object store. Ours; Flue has no such table."""

from __future__ import annotations

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from flue_sqla.models.base import TABLE_OPTIONS, Base, big_integer, bytewise_text, long_text, short_ascii, short_text

__all__ = ["Artifact"]


class Artifact(Base):
    """One artifact. The row exists only when its bytes are stored and their digest is known.

    ``state`` is ``stored`` or ``deleting``. ``store`` is a label, never a URL, of the store that holds the bytes; NULL is the configured
    one (set while a transfer moves the bytes). Times are epoch milliseconds.
    """

    __tablename__ = "flue_artifacts"

    id: Mapped[str] = mapped_column(bytewise_text(255), primary_key=True)
    tenant: Mapped[str] = mapped_column(bytewise_text(255))
    name: Mapped[str] = mapped_column(long_text())
    content_type: Mapped[str | None] = mapped_column(short_text(255))
    size: Mapped[int] = mapped_column(big_integer())
    sha256: Mapped[str] = mapped_column(short_ascii(64))
    storage_key: Mapped[str] = mapped_column(short_text(512))
    store: Mapped[str | None] = mapped_column(short_text(255))
    state: Mapped[str] = mapped_column(short_ascii(16))
    metadata_json: Mapped[str | None] = mapped_column(long_text())
    run_id: Mapped[str | None] = mapped_column(bytewise_text(255))
    submission_id: Mapped[str | None] = mapped_column(bytewise_text(255))
    created_at: Mapped[int] = mapped_column(big_integer())
    deleted_at: Mapped[int | None] = mapped_column(big_integer())

    __table_args__ = (
        UniqueConstraint(tenant, id),
        UniqueConstraint(storage_key),
        Index("flue_artifacts_tenant_created_idx", tenant, created_at, id),
        Index("flue_artifacts_tenant_run_created_idx", tenant, run_id, created_at, id),
        Index("flue_artifacts_tenant_submission_created_idx", tenant, submission_id, created_at, id),
        Index("flue_artifacts_state_idx", state),
        TABLE_OPTIONS,
    )
