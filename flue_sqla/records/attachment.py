"""Immutable attachments of a conversation (spec/attachments.md §1)."""

from __future__ import annotations

import hashlib
from typing import Any, Self

from pydantic import Field

from flue_sqla.records.base import Record

__all__ = ["Attachment", "AttachmentRef"]


class AttachmentRef(Record):
    """Identity of some bytes: ``size`` in bytes, ``digest`` SHA-256 in 64 lower-case hex digits. ``filename`` is presentation only."""

    id: str
    mime_type: str
    size: int
    digest: str
    filename: str | None = None

    @classmethod
    def of(cls, attachment_id: str, mime_type: str, data: bytes, filename: str | None = None) -> Self:
        """The reference of ``data``: size and digest are computed; an empty file name is no file name."""
        return cls(
            id=attachment_id, mime_type=mime_type, size=len(data), digest=hashlib.sha256(data).hexdigest(), filename=filename or None
        )


class Attachment(Record):
    """A reference together with its bytes."""

    ref: AttachmentRef = Field(validation_alias="attachment")
    data: bytes = Field(validation_alias="bytes", repr=False)

    def to_wire(self) -> dict[str, Any]:
        """The reference under ``attachment``, as the contract names it; bytes have no JSON form."""
        return {"attachment": self.ref.to_wire()}
