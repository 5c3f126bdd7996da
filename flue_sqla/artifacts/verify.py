"""Reading stored artifacts again and comparing their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from flue_sqla.artifacts.keys import is_artifact_id
from flue_sqla.artifacts.parts import MIB, StreamDigest
from flue_sqla.artifacts.runtime import Runtime
from flue_sqla.artifacts.store import AsyncObjectStore
from flue_sqla.artifacts.stores import Stores
from flue_sqla.errors import ArtifactIntegrityError, ArtifactStoreError, InvalidInputError
from flue_sqla.records.artifact import Artifact, VerifyFinding, VerifyReport
from flue_sqla.repositories.artifacts import ArtifactRows
from flue_sqla.repositories.paging import at_least_one

__all__ = ["Progress", "stored_digest", "verify"]

Progress = Callable[[VerifyReport], None]

_PAGE = 100
_EMPTY = hashlib.sha256().hexdigest()


async def verify(
    runtime: Runtime,
    rows: ArtifactRows,
    stores: Stores,
    store: AsyncObjectStore,
    *,
    tenant: str | None,
    cursor: str | None,
    limit: int | None,
    progress: Progress | None,
) -> VerifyReport:
    """Check up to ``limit`` artifacts after ``cursor``, one after another; ``progress`` gets the report so far after each.

    Raises:
        InvalidInputError: ``cursor`` is of no report, or ``limit`` is below 1: nothing would be checked, and nothing found.
    """
    # Whether it is there does not matter: the artifact may have been deleted since.
    if cursor is not None and not is_artifact_id(cursor):
        raise InvalidInputError(
            "This is not a cursor of a verification.",
            meta={"field": "cursor"},
            remedy="Pass the cursor of the report that is to be continued, or none to begin with the first artifact.",
        )
    most = None if limit is None else at_least_one(limit)
    report = VerifyReport(checked=0, bytes_read=0, findings=[], cursor=cursor)
    while page := await runtime.rows(rows.scan, report.cursor or "", _PAGE, tenant):
        for artifact in page:
            if most is not None and report.checked >= most:
                return report
            if not stores.is_elsewhere(artifact.store):
                size, reason = await _examine(runtime, store, artifact)
            else:
                size, reason = 0, "moved"
            if reason is not None and await runtime.rows(rows.is_stored, artifact.id):
                found = VerifyFinding(id=artifact.id, tenant=artifact.tenant, storage_key=artifact.storage_key, reason=reason)
                report.findings.append(found)
            done = {"checked": report.checked + 1, "bytes_read": report.bytes_read + size, "cursor": artifact.id}
            report = report.model_copy(update=done)
            if progress is not None:
                progress(report)
    return report.model_copy(update={"cursor": None})


async def _examine(runtime: Runtime, store: AsyncObjectStore, artifact: Artifact) -> tuple[int, str | None]:
    """How many bytes were read, and what is wrong with them."""
    try:
        stat = await store.stat(artifact.storage_key)
        if stat is None:
            return 0, "missing"
        if stat.size != artifact.size:
            return 0, "corrupt"
        digest = await stored_digest(runtime, store, artifact.storage_key, artifact.size)
        return artifact.size, None if digest == artifact.sha256 else "corrupt"
    except ArtifactIntegrityError:
        return 0, "corrupt"
    except ArtifactStoreError as error:
        return 0, "missing" if error.meta.get("reason") == "missing" else "unreadable"


async def stored_digest(runtime: Runtime, store: AsyncObjectStore, key: str, size: int) -> str:
    """The SHA-256 of what is stored under ``key``, read in order with bounded memory."""
    if size == 0:
        return _EMPTY
    reader = await store.open(key, size)
    digest = StreamDigest()
    try:
        while data := await reader.read(4 * MIB):
            await runtime.hash(digest, data)
        return await runtime.hexdigest(digest)
    finally:
        digest.close()
        await reader.aclose()
