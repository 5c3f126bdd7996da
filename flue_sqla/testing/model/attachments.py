"""Attachments in memory, in the one-row layout (spec/attachments.md)."""

from __future__ import annotations

import hashlib

from flue_sqla.clock import Clock
from flue_sqla.errors import AttachmentConflictError, AttachmentIntegrityError
from flue_sqla.records import Attachment, AttachmentRef
from flue_sqla.testing.model.database import MemoryDatabase

__all__ = ["MemoryAttachments"]

TABLE = "flue_attachments"


class MemoryAttachments:
    """The attachment store of the reference model."""

    def __init__(self, database: MemoryDatabase, clock: Clock) -> None:
        self.database = database
        self.clock = clock

    def put(self, stream_path: str, attachment: AttachmentRef, data: bytes, conversation_id: str, /) -> None:
        _verify(attachment, data)
        wanted = {
            "mime_type": attachment.mime_type,
            "byte_size": attachment.size,
            "digest": attachment.digest,
            "conversation_id": conversation_id,
            "bytes": bytes(data),
        }
        with self.database.transaction():
            stored = self.database.find(TABLE, stream_path=stream_path, attachment_id=attachment.id)
            if stored is None:
                self.database.insert(TABLE, stream_path=stream_path, attachment_id=attachment.id, created_at=self.clock.now(), **wanted)
            elif any(stored[name] != value for name, value in wanted.items()):
                raise AttachmentConflictError(stream_path, attachment.id)

    def get(self, stream_path: str, attachment_id: str, conversation_id: str, /) -> Attachment | None:
        stored = self.database.find(TABLE, stream_path=stream_path, attachment_id=attachment_id)
        if stored is None or stored["conversation_id"] != conversation_id:
            return None
        ref = AttachmentRef(id=attachment_id, mime_type=stored["mime_type"], size=stored["byte_size"], digest=stored["digest"])
        _verify(ref, stored["bytes"])
        return Attachment(ref=ref, data=stored["bytes"])


def _verify(ref: AttachmentRef, data: bytes) -> None:
    if len(data) != ref.size:
        raise AttachmentIntegrityError(ref.id, "size")
    if hashlib.sha256(data).hexdigest() != ref.digest:
        raise AttachmentIntegrityError(ref.id, "digest")
