"""Moving all artifacts to another store: copied with their digests checked, and switched only when every byte is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flue_sqla.artifacts.factory import async_store, blocking_store
from flue_sqla.artifacts.options import StoreOptions
from flue_sqla.artifacts.parts import Assembler, StreamDigest
from flue_sqla.artifacts.portal import Portal
from flue_sqla.artifacts.runtime import AsyncRuntime
from flue_sqla.artifacts.store import AsyncObjectStore, AsyncReader, AsyncUpload
from flue_sqla.artifacts.verify import stored_digest
from flue_sqla.errors import ArtifactConflictError, ArtifactIntegrityError, ArtifactStoreError, ConfigurationError
from flue_sqla.records.artifact import Artifact, TransferReport
from flue_sqla.repositories.artifacts import ArtifactRows

__all__ = ["Progress", "transfer"]

Progress = Callable[[TransferReport], None]

_PAGE = 200
_READ = 1024 * 1024


def transfer(
    rows: ArtifactRows,
    source: StoreOptions,
    target: StoreOptions,
    *,
    dry_run: bool = False,
    at_once: int = 4,
    progress: Progress | None = None,
) -> TransferReport:
    """Copy the bytes of all artifacts from ``source`` to ``target``, and then switch their rows.

    Safe to repeat and to interrupt anywhere: what is there already is recognised by its digest, and rows are switched in one transaction
    after everything has been copied, also what was put meanwhile. The bytes in ``source`` stay.

    Args:
        rows: the rows, in transactions of their own.
        dry_run: only count what would be copied.
        at_once: artifacts that are copied beside each other; each holds a few parts in memory.
        progress: called with the report so far after each artifact.

    Raises:
        ConfigurationError: both are one store.
        ArtifactIntegrityError: bytes in ``source`` are not those of their row; nothing was switched.
        ArtifactStoreError: a store failed, ``meta["side"]`` says which: ``source`` or ``target``; nothing was switched. Run it again.
    """
    source.check()
    target.check()
    if source.label == target.label:
        raise ConfigurationError("Both stores are the same place.", remedy="Name two different stores.")
    portal = Portal("flue-transfer")
    try:
        return portal.call(_run(rows, source, target, dry_run, at_once, progress))
    except ArtifactStoreError as error:
        error.meta.setdefault("side", "target")
        raise
    finally:
        portal.close()


async def _run(
    rows: ArtifactRows, source: StoreOptions, target: StoreOptions, dry_run: bool, at_once: int, progress: Progress | None
) -> TransferReport:
    stores = [async_store(options, None if options.scheme == "s3" else blocking_store(options)) for options in (source, target)]
    move = _Transfer(rows, stores[0], stores[1], source.label, target.label, dry_run, at_once, progress)
    try:
        return await move.run()
    finally:
        for store in stores:
            await store.close()


@dataclass
class _Transfer:
    rows: ArtifactRows
    source: AsyncObjectStore
    target: AsyncObjectStore
    source_label: str
    target_label: str
    dry_run: bool
    at_once: int
    progress: Progress | None
    report: TransferReport = field(default_factory=lambda: TransferReport(artifacts=0, copied=0, copied_bytes=0, present=0, switched=False))
    done: set[str] = field(default_factory=set)
    runtime: AsyncRuntime = field(default_factory=AsyncRuntime)

    async def run(self) -> TransferReport:
        while await self._pass():
            if self.dry_run:
                return self.report
        # The last pass found nothing new; what is put from now on is copied by the next run.
        if self.done:
            await asyncio.to_thread(self.rows.relabel, sorted(self.done), self.target_label)
        self.report = self.report.model_copy(update={"switched": not self.dry_run})
        return self.report

    async def _pass(self) -> int:
        """Copy whatever this run has not seen yet; how many that were."""
        found, after = 0, ""
        while page := await asyncio.to_thread(self.rows.scan, after, _PAGE):
            after = page[-1].id
            new = [artifact for artifact in page if artifact.id not in self.done and artifact.store in (None, self.source_label)]
            found += len(new)
            await self._copy_all(new)
        return found

    async def _copy_all(self, artifacts: list[Artifact]) -> None:
        waiting = iter(artifacts)

        async def worker() -> None:
            for artifact in waiting:
                await self._move(artifact)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.at_once, len(artifacts))):
                    group.create_task(worker())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _move(self, artifact: Artifact) -> None:
        if await self._is_there(artifact):
            self._count(artifact, present=1)
        elif self.dry_run or await self._copied(artifact):
            self._count(artifact, copied=1)

    async def _is_there(self, artifact: Artifact) -> bool:
        """Whether the target has these very bytes. Others under that key are the remains of something else, and are removed."""
        found = await self.target.stat(artifact.storage_key)
        if found is None:
            return False
        if found.size == artifact.size:
            digest = await stored_digest(self.runtime, self.target, artifact.storage_key, artifact.size)
            if digest == artifact.sha256:
                return True
        if not self.dry_run:
            await self.target.delete(artifact.storage_key)
        return False

    async def _copied(self, artifact: Artifact) -> bool:
        """Copy one artifact; False when it was deleted meanwhile."""
        try:
            with _of_source():
                reader = await self.source.open(artifact.storage_key, artifact.size)
            try:
                await self._stream(artifact, reader)
            finally:
                await reader.aclose()
        except ArtifactConflictError:
            return await self._is_there(artifact)
        except Exception:
            if not await asyncio.to_thread(self.rows.is_stored, artifact.id):
                return False
            raise
        return True

    async def _stream(self, artifact: Artifact, reader: AsyncReader) -> None:
        upload = self.target.begin(artifact.storage_key, size=artifact.size, content_type=artifact.content_type)
        digest = StreamDigest()
        try:
            await self._pump(artifact, reader, upload, digest)
            if digest.size != artifact.size or await self.runtime.hexdigest(digest) != artifact.sha256:
                raise ArtifactIntegrityError(
                    f"Artifact {artifact.id!r} is not what was stored, so it was not copied and no row was switched.",
                    meta={"artifactId": artifact.id, "size": artifact.size, "sha256": artifact.sha256},
                    remedy="Restore the object from a backup, or delete the artifact; then run the transfer again.",
                )
            await upload.complete()
        except BaseException:
            await self.runtime.finish(upload.abort())
            raise
        finally:
            digest.close()

    async def _pump(self, artifact: Artifact, reader: AsyncReader, upload: AsyncUpload, digest: StreamDigest) -> None:
        assembler = Assembler(self.target.plan, artifact.size)
        while chunk := await self._read(reader, min(_READ, assembler.wanted)):
            for part in assembler.feed(chunk):
                await digest.add_async(part)
                await upload.send(part)
        if rest := assembler.rest():
            await digest.add_async(rest)
            await upload.send(rest)

    @staticmethod
    async def _read(reader: AsyncReader, size: int) -> bytes:
        with _of_source():
            return await reader.read(size)

    def _count(self, artifact: Artifact, *, copied: int = 0, present: int = 0) -> None:
        self.done.add(artifact.id)
        self.report = self.report.model_copy(
            update={
                "artifacts": self.report.artifacts + 1,
                "copied": self.report.copied + copied,
                "copied_bytes": self.report.copied_bytes + copied * artifact.size,
                "present": self.report.present + present,
            }
        )
        if self.progress is not None:
            self.progress(self.report)


@contextmanager
def _of_source() -> Iterator[None]:
    """Around what only the source does; whatever else a store refuses, the target did."""
    try:
        yield
    except ArtifactStoreError as error:
        error.meta["side"] = "source"
        raise
