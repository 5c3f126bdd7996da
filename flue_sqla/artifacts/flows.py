"""put, get, open, delete: bytes first, row last; mark first, bytes next, row last. Written once for both faces."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from flue_sqla.artifacts.parts import Assembler, StreamDigest
from flue_sqla.artifacts.readers import DigestCheck
from flue_sqla.artifacts.requests import PutRequest
from flue_sqla.artifacts.runtime import Runtime
from flue_sqla.artifacts.sources import ByteSource
from flue_sqla.artifacts.store import AsyncObjectStore, AsyncUpload
from flue_sqla.artifacts.stores import Stores
from flue_sqla.errors import ArtifactConflictError, ArtifactMissingError, InvalidInputError, OutcomeUnknown
from flue_sqla.records.artifact import Artifact
from flue_sqla.repositories.artifacts import ArtifactRows

__all__ = [
    "MARKS_KEPT_MS",
    "check_range",
    "digest_check",
    "discard",
    "left_to_sweep",
    "locate",
    "mark_deleted",
    "put",
    "remove_bytes",
    "store_bytes",
]

log = logging.getLogger("flue_sqla.artifacts")

MARKS_KEPT_MS = 7 * 24 * 3_600_000
"""How long a swept key stays taken, so that a put that was on its way fails instead of naming nothing."""
_ROW_PATIENCE = 10.0
"""Seconds for the row of a cancelled put. Without an answer by then its bytes are left to a sweep."""


async def put(runtime: Runtime, rows: ArtifactRows, store: AsyncObjectStore, request: PutRequest, source: ByteSource) -> Artifact:
    """Store the bytes, then insert the row. Whatever fails leaves no visible artifact, and no bytes unless the row's fate is unknown."""
    try:
        if source.size is not None:
            request.check_size(source.size)
        artifact = await store_bytes(runtime, store, request, source)
    finally:
        await source.close()
    # Whoever cancels from here on leaves a whole artifact, unless the database does not answer.
    await runtime.finish(_insert(runtime, rows, store, request, artifact), _ROW_PATIENCE)
    return artifact


async def _insert(runtime: Runtime, rows: ArtifactRows, store: AsyncObjectStore, request: PutRequest, artifact: Artifact) -> None:
    """Make the artifact visible, or remove its bytes."""
    await _refuse_if_swept(rows, store, request)
    try:
        inserted = await runtime.rows(rows.insert, artifact)
    except OutcomeUnknown:
        raise  # the row may be there, so its bytes must stay: a sweep will tell
    except Exception:
        await runtime.finish(discard(store, request.key))
        raise
    if not inserted:
        raise _swept(request)


async def store_bytes(runtime: Runtime, store: AsyncObjectStore, request: PutRequest, source: ByteSource) -> Artifact:
    """Store the bytes and say what they are; whatever fails leaves none."""
    upload = store.begin(request.key, size=source.size, content_type=request.content_type)
    digest = StreamDigest()
    try:
        await _pump(runtime, source, Assembler(store.plan, source.size), digest, upload, request)
        sha256 = await runtime.hexdigest(digest)
        request.check_digest(sha256)
        artifact = request.artifact(digest.size, sha256)
        await upload.complete()
    except BaseException:
        await runtime.finish(_abort(upload, request.key))
        raise
    finally:
        digest.close()
    return artifact


async def _pump(
    runtime: Runtime, source: ByteSource, assembler: Assembler, digest: StreamDigest, upload: AsyncUpload, request: PutRequest
) -> None:
    received = 0
    while True:
        chunk = await source.read(assembler.wanted)
        if not len(chunk):
            break
        received += len(chunk)
        request.check_size(received)
        for part in assembler.feed(chunk):
            await runtime.hash(digest, part)
            await upload.send(part)
    if rest := assembler.rest():
        await runtime.hash(digest, rest)
        await upload.send(rest)


@contextmanager
def left_to_sweep(what: str) -> Iterator[None]:
    """Report what could not be done now, and go on. Whoever called has an error, or a success, of their own to be told."""
    try:
        yield
    except Exception as error:
        log.warning("%s is left to a sweep: %s", what, error, exc_info=log.isEnabledFor(logging.DEBUG))


async def _abort(upload: AsyncUpload, key: str) -> None:
    """Remove what was sent. A store that cannot even do that is reported, but the first error is the caller's."""
    with left_to_sweep(f"Discarding the unfinished upload of {key}"):
        await upload.abort()


async def discard(store: AsyncObjectStore, key: str) -> None:
    """Remove bytes that got no row, or leave them to a sweep."""
    with left_to_sweep(f"Removing the bytes of {key}, which have no row,"):
        await store.delete(key)


async def _refuse_if_swept(rows: ArtifactRows, store: AsyncObjectStore, request: PutRequest) -> None:
    """A put that took days may outlive even the mark that a sweep leaves on its key; then the bytes themselves are asked."""
    if rows.scope.clock.now() - request.created_at > MARKS_KEPT_MS // 7 and await store.stat(request.key) is None:
        raise _swept(request)


def _swept(request: PutRequest) -> ArtifactConflictError:
    return ArtifactConflictError(
        f"The bytes of {request.id!r} were swept before their row was written: they had been without one for longer than the grace time.",
        meta={"artifactId": request.id, "key": request.key},
        remedy="Put the artifact again; sweep with a longer grace time if puts take that long here.",
    )


async def locate(runtime: Runtime, rows: ArtifactRows, stores: Stores, tenant: str, artifact_id: str) -> Artifact:
    """The artifact whose bytes are in the configured store.

    Raises:
        ArtifactMissingError: there is none for this tenant.
        ArtifactStoreError: its bytes were moved to another store.
    """
    artifact = await runtime.rows(rows.get, tenant, artifact_id)
    if artifact is None:
        raise ArtifactMissingError(artifact_id)
    stores.refuse_elsewhere(artifact.id, artifact.store)
    return artifact


def check_range(artifact: Artifact, start: int, end: int | None) -> tuple[int, int]:
    """The range within the artifact; ``end`` None is its end, and whatever lies beyond it is cut off.

    Raises:
        InvalidInputError: the range is negative or backwards.
    """
    if start < 0 or (end is not None and end < start):
        raise InvalidInputError("A range starts at 0 or later and does not end before its start.", meta={"start": start, "end": end})
    return min(start, artifact.size), artifact.size if end is None else min(end, artifact.size)


def digest_check(artifact: Artifact, wanted: bool) -> DigestCheck | None:
    """The check of a reader that was opened with ``verify=True``."""
    return DigestCheck(artifact.id, artifact.size, artifact.sha256) if wanted else None


async def mark_deleted(runtime: Runtime, rows: ArtifactRows, stores: Stores, tenant: str, artifact_id: str) -> Artifact | None:
    """Hide the artifact; its bytes are still there. None when this tenant has none."""
    found = await runtime.rows(rows.get, tenant, artifact_id)
    if found is not None:
        stores.refuse_elsewhere(found.id, found.store)
    return await runtime.rows(rows.mark_deleting, tenant, artifact_id)


async def remove_bytes(runtime: Runtime, rows: ArtifactRows, store: AsyncObjectStore, artifact_id: str, storage_key: str) -> None:
    """The rest of a deletion, repeatable at any point: the bytes, then the row."""
    await store.delete(storage_key)
    await runtime.rows(rows.remove, artifact_id)
