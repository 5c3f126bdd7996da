"""``ctx.artifacts``: the artifact store, bound to a submission and to the attempt's fence."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from flue_sqla.artifacts import Artifacts, AsyncArtifacts
from flue_sqla.artifacts.readers import AsyncArtifactFile
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.flue import Flue
from flue_sqla.records.artifact import Artifact, ArtifactPage
from flue_sqla.worker.bridge import in_thread
from flue_sqla.worker.execution import Execution
from flue_sqla.worker.ownership import Ownership

__all__ = ["BoundArtifacts"]

_DEFAULT_TENANT = "default"


class BoundArtifacts:
    """The artifacts of one attempt. The same names as ``flue.artifacts``, awaited; what is put belongs to the submission."""

    def __init__(self, flue: Flue | AsyncFlue, execution: Execution, ownership: Ownership) -> None:
        self._artifacts: Artifacts | AsyncArtifacts = flue.artifacts
        self._execution = execution
        self._ownership = ownership

    async def put(
        self,
        source: Any,
        *,
        name: str,
        content_type: str | None = None,
        tenant: str = _DEFAULT_TENANT,
        run_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expected_sha256: str | None = None,
        max_bytes: int | None = None,
    ) -> Artifact:
        """As ``flue.artifacts.put``, with ``submission_id``; a boundary. Put it in a step to have it stored once per submission."""
        await self._ownership.prove()
        arguments: dict[str, Any] = {
            "name": name,
            "content_type": content_type,
            "tenant": tenant,
            "run_id": run_id,
            "submission_id": self._execution.submission_id,
            "metadata": metadata,
            "expected_sha256": expected_sha256,
            "max_bytes": max_bytes,
        }
        stored: Artifact = await self._call(self._artifacts.put, source, **arguments)
        return stored

    async def get(self, artifact_id: str, *, tenant: str = _DEFAULT_TENANT) -> Artifact | None:
        """As ``flue.artifacts.get``."""
        found: Artifact | None = await self._call(self._artifacts.get, artifact_id, tenant=tenant)
        return found

    async def open(self, artifact_id: str, *, tenant: str = _DEFAULT_TENANT, verify: bool = False) -> AsyncArtifactFile | Any:
        """As ``flue.artifacts.open``: an awaited file over an ``AsyncFlue``, a plain one over a ``Flue``."""
        return await self._call(self._artifacts.open, artifact_id, tenant=tenant, verify=verify)

    async def read_range(self, artifact_id: str, start: int, end: int | None = None, *, tenant: str = _DEFAULT_TENANT) -> bytes:
        """As ``flue.artifacts.read_range``."""
        found: bytes = await self._call(self._artifacts.read_range, artifact_id, start, end, tenant=tenant)
        return found

    async def list(self, *, tenant: str = _DEFAULT_TENANT, limit: int | None = None, cursor: str | None = None) -> ArtifactPage:
        """The artifacts that this submission has put, in whatever attempt."""
        page: ArtifactPage = await self._call(
            self._artifacts.list, tenant=tenant, submission_id=self._execution.submission_id, limit=limit, cursor=cursor
        )
        return page

    async def delete(self, artifact_id: str, *, tenant: str = _DEFAULT_TENANT) -> bool:
        """As ``flue.artifacts.delete``; a boundary."""
        await self._ownership.prove()
        deleted: bool = await self._call(self._artifacts.delete, artifact_id, tenant=tenant)
        return deleted

    async def _call(self, method: Callable[..., Any | Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        if isinstance(self._artifacts, AsyncArtifacts):
            return await method(*args, **kwargs)
        return await in_thread(method, *args, **kwargs)
