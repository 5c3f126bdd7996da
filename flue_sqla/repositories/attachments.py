"""Immutable attachments of conversations (spec/attachments.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.errors import (
    AttachmentConflictError,
    AttachmentIntegrityError,
    ConversationStreamStoreError,
    InternalStateError,
    InvalidInputError,
)
from flue_sqla.models.tables import attachment_chunks, attachments
from flue_sqla.records.attachment import Attachment, AttachmentRef
from flue_sqla.repositories.per_dialect import PerDialect
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.wire import require_storable

__all__ = ["CHUNK_BYTES", "Attachments"]

CHUNK_BYTES: Final = 524_288
"""The size of a chunk of the ``sqlite`` profile (spec/attachments.md §4)."""
_PRUNED_MEANWHILE: Final = 3

_a, _chunk = attachments, attachment_chunks
_KEY = (_a.c.stream_path == sa.bindparam("of_path"), _a.c.attachment_id == sa.bindparam("of_attachment"))
_SHARED = (_a.c.mime_type, _a.c.byte_size, _a.c.digest, _a.c.conversation_id)
_WHOLE = sa.select(*_SHARED, _a.c.bytes).where(*_KEY)
_CUT = sa.select(*_SHARED, _a.c.chunk_count).where(*_KEY)
_CHUNKS = (
    sa.select(_chunk.c.chunk_index, _chunk.c.bytes)
    .where(_chunk.c.stream_path == sa.bindparam("of_path"), _chunk.c.attachment_id == sa.bindparam("of_attachment"))
    .order_by(_chunk.c.chunk_index)
)
_VISIBLE_TO = _a.c.conversation_id == sa.bindparam("of_conversation")
_GET_WHOLE, _GET_CUT = _WHOLE.where(_VISIBLE_TO), _CUT.where(_VISIBLE_TO)
# A locking read: in a host's transaction with an older snapshot a plain one would not see the row that the insert met.
_EXISTING = _WHOLE.with_for_update(read=True)
_PUT = PerDialect(lambda dialect: dialect.insert_ignore(attachments))
_PUT_CHUNK = sa.insert(attachment_chunks)


class Attachments:
    """Bytes under an id that is unique per stream path; once stored they never change."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def put(self, stream_path: str, attachment: AttachmentRef, data: bytes, conversation_id: str) -> None:
        """Store ``data``; the same call again changes nothing, also after a lost answer (spec/attachments.md §2).

        Args:
            stream_path: the stream that the conversation is in.
            attachment: the reference, as :meth:`AttachmentRef.of` computes it; its file name is not stored.
            data: the bytes.
            conversation_id: the only conversation that may read them.

        Raises:
            AttachmentIntegrityError: the bytes do not have the size (checked first) or the digest of the reference.
            AttachmentConflictError: the id is taken by other bytes, metadata or conversation; those stay untouched.
            ValueTooLargeError: an id is too long or the bytes exceed the server's packet limit (MySQL, MariaDB).
        """
        content = _as_bytes(data)
        texts = {"attachment_id": attachment.id, "mime_type": attachment.mime_type, "conversation_id": conversation_id}
        self._check("put_attachment", stream_path, texts)
        _verify(attachment, content)
        row = {
            "stream_path": stream_path,
            **texts,
            "byte_size": attachment.size,
            "digest": attachment.digest,
            "created_at": self._scope.clock.now(),
        }
        stored = self._put_cut(row, content) if self._scope.dialect.chunked_values else self._put_whole(row, content)
        if stored != (attachment.mime_type, attachment.size, attachment.digest, conversation_id, content):
            raise AttachmentConflictError(stream_path, attachment.id)

    def get(self, stream_path: str, attachment_id: str, conversation_id: str) -> Attachment | None:
        """The attachment with its bytes, verified; None if there is none or it belongs to another conversation.

        Raises:
            AttachmentIntegrityError: what is stored is damaged.
        """
        texts = {"attachment_id": attachment_id, "conversation_id": conversation_id}
        self._check("get_attachment", stream_path, texts)
        key = {"of_path": stream_path, "of_attachment": attachment_id, "of_conversation": conversation_id}
        if self._scope.dialect.chunked_values:
            found = self._scope.snapshot(partial(_get_cut, _GET_CUT, key))
        else:
            found = self._scope.read(partial(_get_whole, _GET_WHOLE, key))
        if found is None:
            return None
        mime_type, size, digest, _, content = found
        ref = AttachmentRef(id=attachment_id, mime_type=mime_type, size=size, digest=digest)
        _verify(ref, content)
        return Attachment(ref=ref, data=content)

    def _put_whole(self, row: dict[str, Any], content: bytes) -> _Stored:
        """One statement when the attachment is new, a second look when it existed."""
        key = {"of_path": row["stream_path"], "of_attachment": row["attachment_id"]}
        for _ in range(_PRUNED_MEANWHILE):
            if self._scope.single(partial(self._insert, {**row, "bytes": content}, content)):
                return _stored(row, content)
            existing = self._scope.read(partial(_get_whole, _EXISTING, key))
            if existing is not None:
                return existing
        raise _vanished(row)

    def _put_cut(self, row: dict[str, Any], content: bytes) -> _Stored:
        parts = [content[start : start + CHUNK_BYTES] for start in range(0, len(content), CHUNK_BYTES)] or [b""]
        key = {name: row[name] for name in ("stream_path", "attachment_id")}

        def put(executor: Executor) -> _Stored:
            if self._insert({**row, "chunk_count": len(parts)}, b"", executor):
                executor.execute(_PUT_CHUNK, [{**key, "chunk_index": index, "bytes": part} for index, part in enumerate(parts)])
                return _stored(row, content)
            found = _get_cut(_CUT, {"of_path": row["stream_path"], "of_attachment": row["attachment_id"]}, executor)
            if found is None:
                raise _vanished(row)
            return found

        return self._scope.write(put)

    def _insert(self, row: dict[str, Any], content: bytes, executor: Executor) -> bool:
        self._scope.dialect.check_packet(executor, content)
        return executor.execute(_PUT(self._scope.dialect), row).rowcount == 1

    def _check(self, operation: str, stream_path: str, texts: dict[str, str]) -> None:
        require_storable(stream_path, "stream_path")
        if self._scope.dialect.path_too_long(stream_path):
            raise ConversationStreamStoreError(operation, stream_path, "Stream path exceeds the supported 255-character limit.")
        self._scope.dialect.check_key("stream_path", stream_path)
        for field, text in texts.items():
            self._scope.dialect.check_key(field, require_storable(text, field))


_Stored = tuple[str, int, str, str, bytes]
"""What must agree: MIME type, size, digest, conversation, bytes."""


def _stored(row: dict[str, Any], content: bytes) -> _Stored:
    return row["mime_type"], row["byte_size"], row["digest"], row["conversation_id"], content


def _vanished(row: dict[str, Any]) -> InternalStateError:
    return InternalStateError(
        "The attachment id is taken, and yet its row cannot be found.",
        meta={"path": row["stream_path"], "attachmentId": row["attachment_id"]},
        remedy="Try again; if it happens again, look for a trigger or a rule on flue_attachments.",
    )


def _get_whole(statement: sa.Select[Any], key: dict[str, Any], executor: Executor) -> _Stored | None:
    row = executor.execute(statement, key).first()
    return None if row is None else (row.mime_type, row.byte_size, row.digest, row.conversation_id, bytes(row.bytes))


def _get_cut(statement: sa.Select[Any], key: dict[str, Any], executor: Executor) -> _Stored | None:
    row = executor.execute(statement, key).first()
    if row is None:
        return None
    parts = executor.execute(_CHUNKS, {name: key[name] for name in ("of_path", "of_attachment")}).all()
    content = _joined(key["of_attachment"], row.chunk_count, [(part.chunk_index, part.bytes) for part in parts])
    return row.mime_type, row.byte_size, row.digest, row.conversation_id, content


def _joined(attachment_id: str, count: int, parts: Sequence[tuple[int, bytes]]) -> bytes:
    """spec/attachments.md §4: as many chunks as counted, numbered from 0, none oversized, none empty but the last."""
    whole = (
        type(count) is int
        and len(parts) == count > 0
        and all(index == expected for expected, (index, _) in enumerate(parts))
        and all(len(part) <= CHUNK_BYTES for _, part in parts)
        and all(part for _, part in parts[:-1])
    )
    if not whole:
        raise AttachmentIntegrityError(attachment_id, "chunks")
    return b"".join(part for _, part in parts)


def _verify(ref: AttachmentRef, content: bytes) -> None:
    if len(content) != ref.size:
        raise AttachmentIntegrityError(ref.id, "size")
    if hashlib.sha256(content).hexdigest() != ref.digest:
        raise AttachmentIntegrityError(ref.id, "digest")


def _as_bytes(data: Any) -> bytes:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise InvalidInputError(f"Attachment data must be bytes, found {type(data).__name__}.", meta={"field": "data"})
    return bytes(data)
