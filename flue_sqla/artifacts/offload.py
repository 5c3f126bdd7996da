"""Attachments above a size, kept as artifacts: the object store as the repository of attachments uses it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from flue_sqla.artifacts import flows
from flue_sqla.artifacts.bridges import AwaitedStore, inline
from flue_sqla.artifacts.requests import PutRequest
from flue_sqla.artifacts.runtime import AsyncRuntime, BlockingRuntime, Runtime, run
from flue_sqla.artifacts.sources import source_of
from flue_sqla.artifacts.store import AsyncObjectStore
from flue_sqla.artifacts.stores import Stores
from flue_sqla.records.artifact import Artifact
from flue_sqla.records.attachment import AttachmentRef
from flue_sqla.repositories.artifacts import KEPT_TENANT, ArtifactRows
from flue_sqla.repositories.offloading import KeptBytes
from flue_sqla.repositories.scope import Scope

__all__ = ["AttachmentOffload"]

T = TypeVar("T")
Flow = Callable[[Runtime, AsyncObjectStore], Coroutine[Any, Any, T]]


class AttachmentOffload:
    """Keeps attachments in the artifact store (``repositories.offloading.Offload``).

    The repository is synchronous code on both faces of a Flue. Behind the greenlet bridge its bytes travel on the running loop, and
    nothing blocks; elsewhere they travel on the caller's thread.

    Args:
        scope: transactions of our own, in which deletions are finished.
        stores: where the bytes are.
        above: the most bytes that stay in the table; None keeps all of them there.
    """

    def __init__(self, scope: Scope, stores: Stores, above: int | None) -> None:
        self._rows = ArtifactRows(scope)
        self._stores = stores
        self._above = above

    def wants(self, size: int) -> bool:
        return self._above is not None and size > self._above

    def upload(self, ref: AttachmentRef, data: bytes) -> Artifact:
        request = PutRequest.checked(
            name=ref.id or "attachment",
            content_type=None,
            tenant=KEPT_TENANT,
            run_id=None,
            submission_id=None,
            metadata=None,
            expected_sha256=ref.digest,
            max_bytes=None,
            now=self._rows.scope.clock.now(),
        )

        async def flow(runtime: Runtime, store: AsyncObjectStore) -> Artifact:
            return await flows.store_bytes(runtime, store, request, source_of(data, runtime.call, allow_async=False))

        return self._run(flow)

    def has(self, kept: KeptBytes, size: int) -> bool:
        if self._stores.is_elsewhere(kept.store):
            return True
        found = self._run(lambda _, store: store.stat(kept.storage_key))
        return found is not None and found.size == size

    def discard(self, artifact: Artifact) -> None:
        self._run(lambda runtime, store: runtime.finish(flows.discard(store, artifact.storage_key)))

    def read(self, kept: KeptBytes, size: int) -> bytes:
        self._stores.refuse_elsewhere(kept.artifact_id, kept.store)
        return self._run(lambda _, store: store.read_range(kept.storage_key, 0, size))

    def erase(self, kept: KeptBytes) -> None:
        # The attachment is gone, and its deletion committed; nothing may make it look as if it had not been.
        with flows.left_to_sweep(f"The end of the deletion of artifact {kept.artifact_id}"):
            self._stores.refuse_elsewhere(kept.artifact_id, kept.store)
            self._run(lambda runtime, store: flows.remove_bytes(runtime, self._rows, store, kept.artifact_id, kept.storage_key))

    def _run(self, flow: Flow[T]) -> T:
        if in_greenlet():
            return await_only(flow(AsyncRuntime(), self._stores.of_loop()))
        return run(flow(BlockingRuntime(), AwaitedStore(self._stores.blocking(), inline)))
