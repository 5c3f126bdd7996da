"""Immutable attachments of conversations (spec/attachments.md), in their table or, above a size that the host chooses, as artifacts."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from flue_sqla.errors import (
    ArtifactConflictError,
    ArtifactStoreError,
    AttachmentConflictError,
    AttachmentIntegrityError,
    ConversationStreamStoreError,
    InternalStateError,
    InvalidInputError,
    OutcomeUnknown,
)
from flue_sqla.models.tables import attachment_chunks, attachments
from flue_sqla.records.artifact import Artifact
from flue_sqla.records.attachment import Attachment, AttachmentRef
from flue_sqla.repositories.offloading import (
    KeptBytes,
    Offload,
    forget_left_behind,
    insert_artifact,
    kept_bytes,
    link_artifact,
    replace_artifact,
    take_back_artifact,
    unlink_artifact,
    with_artifact,
)
from flue_sqla.repositories.per_dialect import PerDialect
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.wire import require_storable

__all__ = ["CHUNK_BYTES", "Attachments"]

CHUNK_BYTES: Final = 524_288
"""The size of a chunk of the ``sqlite`` profile (spec/attachments.md §4)."""
_PRUNED_MEANWHILE: Final = 3
"""Tries at an id that is taken when it is put, and free, or otherwise kept, when it is looked at."""

_a, _chunk = attachments, attachment_chunks
_KEY = (_a.c.stream_path == sa.bindparam("of_path"), _a.c.attachment_id == sa.bindparam("of_attachment"))
_SHARED = (_a.c.mime_type, _a.c.byte_size, _a.c.digest, _a.c.conversation_id)
_WHOLE = with_artifact([*_SHARED, _a.c.bytes]).where(*_KEY)
_CUT = with_artifact([*_SHARED, _a.c.chunk_count]).where(*_KEY)
_CHUNKS = (
    sa.select(_chunk.c.chunk_index, _chunk.c.bytes)
    .where(_chunk.c.stream_path == sa.bindparam("of_path"), _chunk.c.attachment_id == sa.bindparam("of_attachment"))
    .order_by(_chunk.c.chunk_index)
)
_VISIBLE_TO = _a.c.conversation_id == sa.bindparam("of_conversation")
_GET_WHOLE, _GET_CUT = _WHOLE.where(_VISIBLE_TO), _CUT.where(_VISIBLE_TO)
# A locking read: in a host's transaction with an older snapshot a plain one would not see the row that the insert met. Of all tables
# where that can be, because MySQL reads those that are not named as of the snapshot.
_EXISTING = PerDialect(lambda dialect: _WHOLE.with_for_update(read=True, of=None if dialect.locks_outer_joins else attachments))
_PUT = PerDialect(lambda dialect: dialect.insert_ignore(attachments))
_PUT_CHUNK = sa.insert(attachment_chunks)


class Attachments:
    """Bytes under an id that is unique per stream path; once stored they never change."""

    def __init__(self, scope: Scope, offload: Offload) -> None:
        self._scope = scope
        self._offload = offload

    def put(self, stream_path: str, attachment: AttachmentRef, data: bytes, conversation_id: str) -> None:
        """Store ``data``; the same call again changes nothing, also after a lost answer (spec/attachments.md §2).

        Except that bytes which the artifact store has lost are stored again.

        Args:
            stream_path: the stream that the conversation is in.
            attachment: the reference, as :meth:`AttachmentRef.of` computes it; its file name is not stored.
            data: the bytes; above ``offload_attachments_above`` they are kept in the artifact store.
            conversation_id: the only conversation that may read them.

        Raises:
            AttachmentIntegrityError: the bytes do not have the size (checked first) or the digest of the reference.
            AttachmentConflictError: the id is taken by other bytes, metadata or conversation; those stay untouched.
            ValueTooLargeError: an id is too long or the bytes exceed the server's packet limit (MySQL, MariaDB).
            ArtifactStoreError: the artifact store failed, and nothing was stored; or it does not answer whether it still has the bytes.
            ArtifactConflictError: the bytes were swept because this put took longer than the sweep's grace time.
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
        if self._offload.wants(len(content)):
            stored = self._put_offloaded(attachment, row, content)
        else:
            stored = self._put_cut(row, content) if self._scope.dialect.chunked_values else self._put_whole(row, content)
        # Of bytes that are kept as an artifact the digest says enough: it was checked before they were stored.
        if stored[:4] != _facts(row) or (stored.kept is None and stored.content != content):
            raise AttachmentConflictError(stream_path, attachment.id)

    def get(self, stream_path: str, attachment_id: str, conversation_id: str) -> Attachment | None:
        """The attachment with its bytes, verified; None if there is none or it belongs to another conversation.

        Raises:
            AttachmentIntegrityError: what is stored is damaged.
            ArtifactStoreError: the bytes are kept as an artifact and cannot be read.
        """
        texts = {"attachment_id": attachment_id, "conversation_id": conversation_id}
        self._check("get_attachment", stream_path, texts)
        key = {"of_path": stream_path, "of_attachment": attachment_id, "of_conversation": conversation_id}
        found = self._find(key, _GET_WHOLE, _GET_CUT)
        if found is None:
            return None
        content = found.content
        if found.kept is not None:
            try:
                content = self._offload.read(found.kept, found.size)
            except ArtifactStoreError:
                again = self._find(key, _GET_WHOLE, _GET_CUT)
                if again == found:
                    raise
                # Removed since the first look, and perhaps put again.
                return None if again is None else self.get(stream_path, attachment_id, conversation_id)
        ref = AttachmentRef(id=attachment_id, mime_type=found.mime_type, size=found.size, digest=found.digest)
        _verify(ref, content)
        return Attachment(ref=ref, data=content)

    def _find(self, key: dict[str, Any], whole: sa.Select[Any], cut: sa.Select[Any]) -> _Stored | None:
        if self._scope.dialect.chunked_values:
            return self._scope.snapshot(partial(_get_cut, cut, key))
        return self._scope.read(partial(_get_whole, whole, key))

    def _put_whole(self, row: dict[str, Any], content: bytes) -> _Stored:
        """One statement when the attachment is new, a second look when it existed."""
        for _ in range(_PRUNED_MEANWHILE):
            if self._scope.single(partial(self._insert, {**row, "bytes": content}, content)):
                return _Stored(*_facts(row), content)
            existing = self._scope.read(partial(_get_whole, _EXISTING(self._scope.dialect), _key(row)))
            if existing is not None:
                return existing
        raise _vanished(row)

    def _put_cut(self, row: dict[str, Any], content: bytes) -> _Stored:
        parts = [content[start : start + CHUNK_BYTES] for start in range(0, len(content), CHUNK_BYTES)] or [b""]

        def insert(executor: Executor) -> _Stored:
            if self._insert_cut(row, parts, executor):
                return _Stored(*_facts(row), content)
            existing = self._existing(row, executor)
            if existing is None:
                raise _vanished(row)
            return existing

        return self._scope.write(insert)

    def _put_offloaded(self, ref: AttachmentRef, row: dict[str, Any], content: bytes) -> _Stored:
        """Bytes first, rows last. What is there already is not uploaded again, or its bytes are discarded; what was lost is replaced."""
        is_lost: Callable[[_Stored], bool] = partial(self._is_lost, row)
        if not self._scope.in_transaction:  # where the upload comes before the first statement, so that no lock is held meanwhile
            existing = self._find(_key(row), _WHOLE, _CUT)
            if existing is not None and not is_lost(existing):
                return existing
            is_lost = partial(operator.eq, existing)  # nor during a second look at the store: what is new by then has its bytes
        artifact = self._offload.upload(ref, content)
        tries = count(1)
        try:
            stored = self._scope.write(lambda executor: self._insert_offloaded(row, artifact, is_lost, next(tries), executor))
        except OutcomeUnknown:
            raise  # the rows may be there, so their bytes must stay: a sweep will tell
        except Exception:
            self._offload.discard(artifact)
            raise
        if stored.kept is None or stored.kept.artifact_id != artifact.id:
            self._offload.discard(artifact)
        return stored

    def _insert(self, row: dict[str, Any], content: bytes, executor: Executor) -> bool:
        self._scope.dialect.check_packet(executor, content)
        return executor.execute(_PUT(self._scope.dialect), row).rowcount == 1

    def _insert_cut(self, row: dict[str, Any], parts: Sequence[bytes], executor: Executor) -> bool:
        if not self._insert({**row, "chunk_count": len(parts)}, b"", executor):
            return False
        key = {name: row[name] for name in ("stream_path", "attachment_id")}
        executor.execute(_PUT_CHUNK, [{**key, "chunk_index": index, "bytes": part} for index, part in enumerate(parts)])
        return True

    def _insert_empty(self, row: dict[str, Any], executor: Executor) -> bool:
        if self._scope.dialect.chunked_values:
            return self._insert_cut(row, [b""], executor)
        return self._insert({**row, "bytes": b""}, b"", executor)

    def _insert_offloaded(
        self, row: dict[str, Any], artifact: Artifact, is_lost: Callable[[_Stored], bool], nth: int, executor: Executor
    ) -> _Stored:
        """The artifact first: where that waits for a sweep, nothing else is written yet. The attachment last: none is without its bytes."""
        kept = KeptBytes(artifact.id, artifact.storage_key, artifact.store)
        stored = _Stored(*_facts(row), b"", kept)
        if not insert_artifact(executor, self._scope.dialect, artifact):
            existing = self._existing(row, executor)
            if existing is None or is_lost(existing):
                raise _bytes_gone(row)
            return existing  # this is a replay after a lost answer, or another put did it all
        if nth > 1 and not self._offload.has(kept, artifact.size):
            raise _bytes_gone(row)  # the first try arrived after all, and its attachment was pruned since
        for _ in range(_PRUNED_MEANWHILE):
            if link_artifact(executor, self._scope.dialect, row["stream_path"], row["attachment_id"], artifact):
                if self._insert_empty(row, executor):
                    return stored
                unlink_artifact(executor, artifact)  # before the look: what it finds has bytes of its own
            existing = self._existing(row, executor)
            if existing is None:
                forget_left_behind(executor, _key(row))
            elif existing.kept is None or not is_lost(existing):
                take_back_artifact(executor, artifact)
                return existing
            elif replace_artifact(executor, existing.kept, artifact):
                return stored
        raise _vanished(row)

    def _is_lost(self, row: dict[str, Any], stored: _Stored) -> bool:
        """Whether this attachment is to have its bytes from the store, and those are not there."""
        return stored.kept is not None and stored[:4] == _facts(row) and not self._offload.has(stored.kept, stored.size)

    def _existing(self, row: dict[str, Any], executor: Executor) -> _Stored | None:
        if self._scope.dialect.chunked_values:
            return _get_cut(_CUT, _key(row), executor)
        return _get_whole(_EXISTING(self._scope.dialect), _key(row), executor)

    def _check(self, operation: str, stream_path: str, texts: dict[str, str]) -> None:
        require_storable(stream_path, "stream_path")
        if self._scope.dialect.path_too_long(stream_path):
            raise ConversationStreamStoreError(operation, stream_path, "Stream path exceeds the supported 255-character limit.")
        self._scope.dialect.check_key("stream_path", stream_path)
        for field, text in texts.items():
            self._scope.dialect.check_key(field, require_storable(text, field))


class _Stored(NamedTuple):
    """What must agree when an id is put again. The bytes stand in ``content``, or are ``kept`` as an artifact."""

    mime_type: str
    size: int
    digest: str
    conversation_id: str
    content: bytes
    kept: KeptBytes | None = None


def _facts(row: dict[str, Any]) -> tuple[str, int, str, str]:
    return row["mime_type"], row["byte_size"], row["digest"], row["conversation_id"]


def _key(row: dict[str, Any]) -> dict[str, Any]:
    return {"of_path": row["stream_path"], "of_attachment": row["attachment_id"]}


def _vanished(row: dict[str, Any]) -> InternalStateError:
    return InternalStateError(
        "The attachment id is taken, and yet its row cannot be found.",
        meta={"path": row["stream_path"], "attachmentId": row["attachment_id"]},
        remedy="Try again; if it happens again, look for a trigger or a rule on flue_attachments.",
    )


def _bytes_gone(row: dict[str, Any]) -> ArtifactConflictError:
    return ArtifactConflictError(
        "The bytes of the attachment were removed before its row was written: by a sweep, for having been without one for longer than its "
        "grace time, or by a prune, while this put waited for an answer.",
        meta={"path": row["stream_path"], "attachmentId": row["attachment_id"]},
        remedy="Put the attachment again; sweep with a longer grace time if transactions take that long here.",
    )


def _get_whole(statement: sa.Select[Any], key: dict[str, Any], executor: Executor) -> _Stored | None:
    row = executor.execute(statement, key).first()
    if row is None:
        return None
    content = bytes(row.bytes)
    return _Stored(row.mime_type, row.byte_size, row.digest, row.conversation_id, content, kept_bytes(row, content))


def _get_cut(statement: sa.Select[Any], key: dict[str, Any], executor: Executor) -> _Stored | None:
    row = executor.execute(statement, key).first()
    if row is None:
        return None
    parts = executor.execute(_CHUNKS, {name: key[name] for name in ("of_path", "of_attachment")}).all()
    content = _joined(key["of_attachment"], row.chunk_count, [(part.chunk_index, part.bytes) for part in parts])
    return _Stored(row.mime_type, row.byte_size, row.digest, row.conversation_id, content, kept_bytes(row, content))


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
