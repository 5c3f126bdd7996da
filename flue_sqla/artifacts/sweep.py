"""Bringing store and rows into agreement after crashes."""

from __future__ import annotations

from dataclasses import dataclass, field

from flue_sqla.artifacts.flows import MARKS_KEPT_MS, remove_bytes
from flue_sqla.artifacts.keys import is_storage_key
from flue_sqla.artifacts.local import was_used
from flue_sqla.artifacts.runtime import Runtime
from flue_sqla.artifacts.store import AsyncObjectStore, ObjectInfo
from flue_sqla.artifacts.stores import Stores
from flue_sqla.errors import ArtifactStoreError, SerializationConflict
from flue_sqla.records.artifact import Artifact, SweepReport
from flue_sqla.repositories.artifacts import ArtifactRows
from flue_sqla.repositories.offloading import release_stranded, stranded
from flue_sqla.wire import new_id

__all__ = ["Sweep"]

_PAGE = 200
_AT_ONCE = 16
_SUSPICIOUS = 10


@dataclass
class Sweep:
    """One sweep over one store. ``cutoff`` is the epoch ms before which bytes must have been stored to count as orphaned.

    Only keys that a put could have made are looked at: a folder or bucket may hold other people's files.

    Age alone decides nothing: before bytes go, their key is taken by a committed row, which waits for a transaction that is about to
    insert that key and makes any later insert fail.
    """

    runtime: Runtime
    rows: ArtifactRows
    stores: Stores
    store: AsyncObjectStore
    cutoff: int
    repair: bool
    found: SweepReport = field(
        default_factory=lambda: SweepReport(repaired=False, orphans=[], missing=[], deleting=[], busy=[], foreign=0, uploads=None)
    )
    foreign: int = 0

    async def run(self) -> SweepReport:
        """Look at everything; with ``repair`` also mend it."""
        lost = await self._lost()
        await self._stranded()
        await self._deletions()
        await self._orphans()
        for artifact in lost:
            await self._report_missing(artifact)
        uploads = None
        if self.repair:
            uploads = await self.store.discard_uploads(self.cutoff)
            now = self.rows.scope.clock.now()
            await self.runtime.rows(self.rows.remove_marks, now - MARKS_KEPT_MS)
        return self.found.model_copy(update={"repaired": self.repair, "foreign": self.foreign, "uploads": uploads})

    async def _stranded(self) -> None:
        """Attachments that a server deleted which knows nothing of artifacts: deletions left half done."""
        if self.repair:
            await self.runtime.rows(release_stranded, self.rows.scope, self.cutoff)
        else:
            self.found.deleting.extend(await self.runtime.rows(stranded, self.rows.scope, self.cutoff))

    async def _deletions(self) -> None:
        after = ""
        while page := await self.runtime.rows(self.rows.deletions, self.cutoff, after, _PAGE):
            for artifact in page:
                if self._elsewhere(artifact):
                    continue
                self.found.deleting.append(artifact.id)
                if self.repair:
                    await remove_bytes(self.runtime, self.rows, self.store, artifact.id, artifact.storage_key)
            after = page[-1].id

    async def _orphans(self) -> None:
        batch: list[ObjectInfo] = []
        async for info in self.store.list():
            if not is_storage_key(info.key):
                self.foreign += 1
                continue
            # A store that does not say when bytes came (0) leaves them alone.
            if 0 < info.modified_at <= self.cutoff:
                batch.append(info)
            if len(batch) == _PAGE:
                await self._examine(batch)
                batch = []
        await self._examine(batch)

    async def _examine(self, batch: list[ObjectInfo]) -> None:
        known = await self.runtime.rows(self.rows.known_keys, [info.key for info in batch])
        for info in batch:
            if info.key in known:
                continue
            if not self.repair:
                self.found.orphans.append(info.key)
            elif await self._claim(info.key):
                self.found.orphans.append(info.key)
                await self.store.delete(info.key)

    async def _claim(self, key: str) -> bool:
        try:
            return await self.runtime.rows(self.rows.claim_orphan, new_id("art"), key)
        except SerializationConflict:
            self.found.busy.append(key)
            return False

    async def _lost(self) -> list[Artifact]:
        """The rows without bytes. With none that has them, nothing in the store is removed: it is hardly the one of these rows."""
        after, checked = "", 0
        lost: list[Artifact] = []
        while page := await self.runtime.rows(self.rows.scan, after, _PAGE):
            here = [artifact for artifact in page if not self._elsewhere(artifact)]
            checked += len(here)
            for start in range(0, len(here), _AT_ONCE):
                some = here[start : start + _AT_ONCE]
                stats = await self.runtime.each([self.store.stat(artifact.storage_key) for artifact in some])
                lost.extend(artifact for artifact, stat in zip(some, stats, strict=True) if stat is None)
            after = page[-1].id
        if self.repair and lost and len(lost) == checked and (checked >= _SUSPICIOUS or self._is_unused()):
            raise ArtifactStoreError(
                f"None of the {checked} artifacts has its bytes in this store, so this is hardly the right one; nothing was removed.",
                meta={"reason": "wrong_store", "checked": checked},
                remedy="Check FLUE_ARTIFACTS, and that what it names is mounted; sweep without repair lists the rows.",
            )
        return lost

    def _is_unused(self) -> bool:
        """A folder in which nothing was ever put: what should be mounted there is not."""
        options = self.stores.options
        return options.scheme == "file" and not was_used(options.folder)

    async def _report_missing(self, artifact: Artifact) -> None:
        # It may have been deleted since the page was read.
        if not await self.runtime.rows(self.rows.is_stored, artifact.id):
            return
        self.found.missing.append(artifact.id)
        if self.repair:
            await self.runtime.rows(self.rows.remove_missing, artifact.id)

    def _elsewhere(self, artifact: Artifact) -> bool:
        return self.stores.is_elsewhere(artifact.store)
