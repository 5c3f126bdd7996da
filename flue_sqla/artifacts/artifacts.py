"""``flue.artifacts``: the public face, blocking and async, over the same flows."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from sqlalchemy.util import await_only

from flue_sqla.artifacts import flows
from flue_sqla.artifacts.bridges import AwaitedStore, inline
from flue_sqla.artifacts.options import StoreOptions
from flue_sqla.artifacts.readers import AsyncArtifactFile, VerifyingReader
from flue_sqla.artifacts.requests import PutRequest
from flue_sqla.artifacts.runtime import AsyncRuntime, BlockingRuntime, run
from flue_sqla.artifacts.sources import AnySource, source_of
from flue_sqla.artifacts.store import AsyncObjectStore
from flue_sqla.artifacts.stores import Stores
from flue_sqla.artifacts.sweep import Sweep
from flue_sqla.artifacts.verify import Progress, verify
from flue_sqla.errors import InvalidInputError
from flue_sqla.records.artifact import Artifact, ArtifactPage, SweepReport, TransferReport, VerifyReport
from flue_sqla.repositories.artifacts import KEPT_TENANT, ArtifactRows
from flue_sqla.repositories.scope import Scope

__all__ = ["Artifacts", "AsyncArtifacts"]


DEFAULT_TENANT = "default"
GRACE_MS = 3_600_000
TransferProgress = Callable[[TransferReport], None]
_LONGEST_URL = 7 * 24 * 3600


class _Face:
    """What both faces hold: rows in the caller's transaction, rows of our own, and the stores."""

    def __init__(self, scope: Scope, stores: Stores, own: Scope | None = None) -> None:
        self._rows = ArtifactRows(scope)
        self._own = ArtifactRows(own if own is not None else scope)
        self._stores = stores

    def _request(self, tenant: str, **arguments: Any) -> PutRequest:
        request = PutRequest.checked(tenant=tenant, now=self._rows.scope.clock.now(), **arguments)
        self._rows.distinct_tenant(tenant)
        for column, value in {"run_id": request.run_id, "submission_id": request.submission_id}.items():
            if value is not None:
                self._rows.distinct(column, value)
        # With blanks too: a snapshot may bring the row to a database that takes both for the same.
        if tenant.rstrip(" ") == KEPT_TENANT:
            raise InvalidInputError(
                f"The tenant {tenant!r} is that of attachments' bytes.", meta={"field": "tenant"}, remedy="Name another."
            )
        return request

    def _refuse_in_transaction(self, what: str) -> None:
        if self._rows.scope.in_transaction:
            raise InvalidInputError(
                f"{what} commits steps of its own, so it cannot be part of a transaction.", remedy=f"Call flue.artifacts.{what}()."
            )


class Artifacts(_Face):
    """Artifacts, blocking. Safe for many threads; usable inside a running event loop (which it blocks) and after a fork.

    Args:
        scope: the transaction rules of the rows.
        stores: where the bytes are.
        own: the scope in which a deletion is finished after the host's commit; default ``scope``.
    """

    def put(
        self,
        source: AnySource,
        *,
        name: str,
        content_type: str | None = None,
        tenant: str = DEFAULT_TENANT,
        run_id: str | None = None,
        submission_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expected_sha256: str | None = None,
        max_bytes: int | None = None,
    ) -> Artifact:
        """Store the bytes of ``source`` and then insert the row; a few parts are in memory at any time.

        Args:
            source: bytes, a path, a readable binary file (from where it stands), or an iterator of bytes.
            name: what people call it; never part of the storage key.
            metadata: JSON values, kept as they are.
            expected_sha256: 64 hex digits that the bytes must have.
            max_bytes: refuse a longer source.

        Raises:
            ArtifactTooLargeError, ArtifactIntegrityError: more than ``max_bytes``, or not ``expected_sha256``; nothing is left.
            ArtifactStoreError: the store failed; no artifact is visible.
            ArtifactConflictError: the bytes were swept because this put took longer than the sweep's grace time.
            ValueTooLargeError: name and metadata are more than the database takes in one statement.
            InvalidInputError: an argument or the source is of the wrong kind.
        """
        request = self._request(
            tenant,
            name=name,
            content_type=content_type,
            run_id=run_id,
            submission_id=submission_id,
            metadata=metadata,
            expected_sha256=expected_sha256,
            max_bytes=max_bytes,
        )
        runtime = BlockingRuntime()
        return run(flows.put(runtime, self._rows, self._store(), request, source_of(source, inline, allow_async=False)))

    def get(self, id: str, *, tenant: str = DEFAULT_TENANT) -> Artifact | None:
        """What is known about the artifact; None when this tenant has none of that id."""
        return self._rows.get(tenant, id)

    def open(self, id: str, *, tenant: str = DEFAULT_TENANT, verify: bool = False) -> BinaryIO:
        """A readable, seekable binary file that reads ahead; close it.

        Args:
            verify: raise :class:`ArtifactIntegrityError` with the last byte when all were read in order and are not what was stored.

        Raises:
            ArtifactMissingError: this tenant has none of that id.
            ArtifactStoreError: the bytes cannot be read.
        """
        artifact = self._locate(tenant, id)
        file = self._stores.blocking().open(artifact.storage_key, artifact.size)
        check = flows.digest_check(artifact, verify)
        if check is None:
            return file
        return io.BufferedReader(VerifyingReader(file, check), buffer_size=128 * 1024)

    def read_range(self, id: str, start: int, end: int | None = None, *, tenant: str = DEFAULT_TENANT) -> bytes:
        """The bytes from ``start`` up to ``end`` (None: to the end), fetching no others; what lies beyond the end is left out.

        Raises:
            ArtifactMissingError: this tenant has none of that id.
            InvalidInputError: the range is negative or backwards.
        """
        artifact = self._locate(tenant, id)
        start, end = flows.check_range(artifact, start, end)
        return self._stores.blocking().read_range(artifact.storage_key, start, end)

    def url(self, id: str, expires_in: int, *, tenant: str = DEFAULT_TENANT) -> str:
        """A URL that reads the artifact without credentials for ``expires_in`` seconds, at most seven days.

        Raises:
            ArtifactMissingError: this tenant has none of that id.
            ArtifactStoreError: this kind of store has no such URLs.
        """
        artifact = self._locate(tenant, id)
        return self._stores.blocking().presign(artifact.storage_key, _lifetime(expires_in))

    def list(
        self,
        *,
        tenant: str = DEFAULT_TENANT,
        run_id: str | None = None,
        submission_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> ArtifactPage:
        """A page of the tenant's artifacts, oldest first; ``next_cursor`` continues it.

        Raises:
            InvalidInputError: the cursor or limit is not a legal one.
        """
        return self._rows.list(tenant, run_id=run_id, submission_id=submission_id, limit=limit, cursor=cursor)

    def delete(self, id: str, *, tenant: str = DEFAULT_TENANT) -> bool:
        """Remove the artifact: it is hidden, then its bytes go, then its row. False when this tenant has none of that id.

        On a unit or bound session it is only hidden; the bytes go after the commit, and stay on a rollback.

        Raises:
            ArtifactStoreError: the bytes could not be removed. The artifact is hidden; delete again, or let a sweep finish it.
        """
        runtime = BlockingRuntime()
        artifact = run(flows.mark_deleted(runtime, self._rows, self._stores, tenant, id))
        if artifact is None:
            return False
        if self._rows.scope.in_transaction:
            self._rows.scope.after_commit(lambda: self._finish_deletion(artifact))
        else:
            run(flows.remove_bytes(runtime, self._rows, self._store(), artifact.id, artifact.storage_key))
        return True

    def verify(
        self,
        *,
        tenant: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
        progress: Progress | None = None,
    ) -> VerifyReport:
        """Read stored artifacts again and compare their digests; memory is bounded.

        Args:
            tenant: only this one's; None is everybody's.
            cursor: continue after the ``cursor`` of an earlier report.
            limit: check at most so many.
            progress: called with the report so far after each artifact; its ``cursor`` is where an interrupted run continues.

        Raises:
            InvalidInputError: the cursor or limit is not a legal one.
        """
        store = self._store()
        runtime = BlockingRuntime()
        return run(verify(runtime, self._rows, self._stores, store, tenant=tenant, cursor=cursor, limit=limit, progress=progress))

    def sweep(self, *, grace_ms: int = GRACE_MS, repair: bool = False) -> SweepReport:
        """Find bytes without rows that are older than ``grace_ms``, rows without bytes, and deletions left half done; mend on request.

        Before orphaned bytes go, their key is taken by a committed row: a put that is still on its way fails with
        :class:`ArtifactConflictError` instead of naming nothing, and a transaction that is about to commit it is waited for.

        Raises:
            InvalidInputError: called on a unit or bound session.
            ArtifactStoreError: the store failed, or is evidently not the one that the rows speak of.
        """
        self._refuse_in_transaction("sweep")
        cutoff = self._rows.scope.clock.now() - grace_ms
        return run(Sweep(BlockingRuntime(), self._rows, self._stores, self._store(), cutoff, repair).run())

    def totals(self) -> tuple[int, int]:
        """How many artifacts there are of all tenants, and their bytes."""
        return self._rows.totals()

    def transfer(
        self,
        source: StoreOptions,
        target: StoreOptions,
        *,
        dry_run: bool = False,
        at_once: int = 4,
        progress: TransferProgress | None = None,
    ) -> TransferReport:
        """Copy all artifacts from one store to another and switch their rows: see :func:`flue_sqla.artifacts.transfer.transfer`."""
        from flue_sqla.artifacts.transfer import transfer

        self._refuse_in_transaction("transfer")
        return transfer(self._rows, source, target, dry_run=dry_run, at_once=at_once, progress=progress)

    def _store(self) -> AsyncObjectStore:
        return AwaitedStore(self._stores.blocking(), inline)

    def _locate(self, tenant: str, artifact_id: str) -> Artifact:
        return run(flows.locate(BlockingRuntime(), self._rows, self._stores, tenant, artifact_id))

    def _finish_deletion(self, artifact: Artifact) -> None:
        # The host's commit has happened; nothing may make it look as if it had not.
        with flows.left_to_sweep(f"The end of the deletion of artifact {artifact.id}"):
            run(flows.remove_bytes(BlockingRuntime(), self._own, self._store(), artifact.id, artifact.storage_key))


class AsyncArtifacts(_Face):
    """Artifacts, awaited: the same names, arguments, results and errors as :class:`Artifacts`.

    Bytes travel natively on the running loop (or on a thread where an engine only blocks); rows go through SQLAlchemy's greenlet bridge.
    A cancelled put leaves nothing behind, or a complete artifact.
    """

    async def put(
        self,
        source: AnySource,
        *,
        name: str,
        content_type: str | None = None,
        tenant: str = DEFAULT_TENANT,
        run_id: str | None = None,
        submission_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expected_sha256: str | None = None,
        max_bytes: int | None = None,
    ) -> Artifact:
        """As :meth:`Artifacts.put`; ``source`` may also be an async iterator of bytes or a file whose ``read`` is awaited."""
        request = self._request(
            tenant,
            name=name,
            content_type=content_type,
            run_id=run_id,
            submission_id=submission_id,
            metadata=metadata,
            expected_sha256=expected_sha256,
            max_bytes=max_bytes,
        )
        runtime = AsyncRuntime()
        return await flows.put(runtime, self._rows, self._store(), request, source_of(source, runtime.call, allow_async=True))

    async def get(self, id: str, *, tenant: str = DEFAULT_TENANT) -> Artifact | None:
        """As :meth:`Artifacts.get`."""
        return await AsyncRuntime().rows(self._rows.get, tenant, id)

    async def open(self, id: str, *, tenant: str = DEFAULT_TENANT, verify: bool = False) -> AsyncArtifactFile:
        """As :meth:`Artifacts.open`: an :class:`AsyncArtifactFile`, to be used with ``async with``."""
        artifact = await self._locate(tenant, id)
        reader = await self._store().open(artifact.storage_key, artifact.size)
        return AsyncArtifactFile(reader, artifact.size, flows.digest_check(artifact, verify))

    async def read_range(self, id: str, start: int, end: int | None = None, *, tenant: str = DEFAULT_TENANT) -> bytes:
        """As :meth:`Artifacts.read_range`."""
        artifact = await self._locate(tenant, id)
        start, end = flows.check_range(artifact, start, end)
        return await self._store().read_range(artifact.storage_key, start, end)

    async def url(self, id: str, expires_in: int, *, tenant: str = DEFAULT_TENANT) -> str:
        """As :meth:`Artifacts.url`."""
        artifact = await self._locate(tenant, id)
        return await self._store().presign(artifact.storage_key, _lifetime(expires_in))

    async def list(
        self,
        *,
        tenant: str = DEFAULT_TENANT,
        run_id: str | None = None,
        submission_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> ArtifactPage:
        """As :meth:`Artifacts.list`."""
        return await AsyncRuntime().rows(
            lambda: self._rows.list(tenant, run_id=run_id, submission_id=submission_id, limit=limit, cursor=cursor)
        )

    async def delete(self, id: str, *, tenant: str = DEFAULT_TENANT) -> bool:
        """As :meth:`Artifacts.delete`."""
        runtime = AsyncRuntime()
        artifact = await flows.mark_deleted(runtime, self._rows, self._stores, tenant, id)
        if artifact is None:
            return False
        if self._rows.scope.in_transaction:
            # The commit runs inside the greenlet bridge, so the deletion can be awaited from its callback.
            self._rows.scope.after_commit(lambda: await_only(self._finish_deletion(artifact)))
        else:
            await flows.remove_bytes(runtime, self._rows, self._store(), artifact.id, artifact.storage_key)
        return True

    async def verify(
        self,
        *,
        tenant: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
        progress: Progress | None = None,
    ) -> VerifyReport:
        """As :meth:`Artifacts.verify`."""
        runtime = AsyncRuntime()
        return await verify(runtime, self._rows, self._stores, self._store(), tenant=tenant, cursor=cursor, limit=limit, progress=progress)

    async def totals(self) -> tuple[int, int]:
        """As :meth:`Artifacts.totals`."""
        return await AsyncRuntime().rows(self._rows.totals)

    async def sweep(self, *, grace_ms: int = GRACE_MS, repair: bool = False) -> SweepReport:
        """As :meth:`Artifacts.sweep`."""
        self._refuse_in_transaction("sweep")
        cutoff = self._rows.scope.clock.now() - grace_ms
        return await Sweep(AsyncRuntime(), self._rows, self._stores, self._store(), cutoff, repair).run()

    def _store(self) -> AsyncObjectStore:
        return self._stores.of_loop()

    async def _locate(self, tenant: str, artifact_id: str) -> Artifact:
        return await flows.locate(AsyncRuntime(), self._rows, self._stores, tenant, artifact_id)

    async def _finish_deletion(self, artifact: Artifact) -> None:
        # The host's commit has happened; nothing may make it look as if it had not.
        with flows.left_to_sweep(f"The end of the deletion of artifact {artifact.id}"):
            await flows.remove_bytes(AsyncRuntime(), self._own, self._store(), artifact.id, artifact.storage_key)


def _lifetime(expires_in: int) -> int:
    if not 1 <= expires_in <= _LONGEST_URL:
        raise InvalidInputError("A URL lives for 1 second to 7 days.", meta={"expiresIn": expires_in})
    return int(expires_in)
