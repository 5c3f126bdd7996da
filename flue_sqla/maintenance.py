"""What an operator does to the whole store: look at the queue, and prune. The same on both faces of a Flue."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy.util import await_only

from flue_sqla.awaited import spawned
from flue_sqla.records.overview import StatusReport
from flue_sqla.records.retention import PruneProgress, PruneReport
from flue_sqla.repositories.overview import Overview
from flue_sqla.repositories.retention import Retention
from flue_sqla.repositories.scope import Scope

if TYPE_CHECKING:
    from flue_sqla.artifacts import Artifacts, AsyncArtifacts, AttachmentOffload
    from flue_sqla.flue import Flue

__all__ = ["AsyncMaintenance", "Maintenance"]

Age = timedelta | int


class Maintenance:
    """Part of :class:`~flue_sqla.flue.Flue`."""

    if TYPE_CHECKING:
        _scope: Scope
        _offload: AttachmentOffload

        @property
        def artifacts(self) -> Artifacts: ...

    def status(self) -> StatusReport:
        """What is queued, running and expired, by agent, and how long the oldest has waited; a snapshot of one moment."""
        return self.overview.status()

    @property
    def overview(self) -> Overview:
        """Reads for an operator, which parse nothing and change nothing."""
        return Overview(self._scope)

    def prune(
        self,
        *,
        older_than: Age | None = None,
        keep_last: int | None = None,
        dry_run: bool = False,
        receipts_for: Age | None = None,
        instances: Iterable[tuple[str, str]] = (),
        artifacts: bool = False,
        batch_size: int = 500,
        progress: Callable[[PruneProgress], None] | None = None,
    ) -> PruneReport:
        """Delete what is settled and old, in short transactions; what has not ended is never touched.

        Settled submissions go with their chunks, journals and buffered segments, ended runs with their event streams, and receipts that
        have been kept long enough. Dispatches, and submissions with a key-derived id, leave a receipt in the same transaction: sent
        again, a dispatch is answered by the receipt and a direct prompt by :class:`~flue_sqla.errors.ReceiptRetainedError`; neither runs
        again. The host of a live child and the child of a live host stay. Safe beside workers and beside a second prune; killed at any
        point, it can be run again.

        Args:
            older_than: how long ago it must have ended; a timedelta, or ms.
            keep_last: how many of the last settled submissions of each session, and of the last ended runs of each workflow, stay
                however old they are. Without ``older_than``, everything else goes.
            dry_run: only count.
            receipts_for: how long receipts are kept; a timedelta, or ms; default 30 days.
            instances: pairs of agent name and instance id whose conversation, sessions, attachments, submissions and agent events go
                entirely, whatever their age.
            artifacts: remove the artifacts of pruned runs, and of these instances' submissions, too. (Those that are the bytes of
                attachments go with them in any case.)
            batch_size: things per transaction, at most 10,000.
            progress: called after each batch.

        Returns:
            The deleted rows by table (with ``dry_run``: those that would be).

        Raises:
            InvalidInputError: nothing was named that may go, or an argument is out of range.
            SessionBusyError: a named instance has unsettled work; it is untouched.
        """
        retention = Retention(self._scope, lambda tenant, artifact_id: self.artifacts.delete(artifact_id, tenant=tenant), self._offload)
        return retention.prune(
            older_than=older_than,
            keep_last=keep_last,
            dry_run=dry_run,
            receipts_for=receipts_for,
            instances=instances,
            artifacts=artifacts,
            batch_size=batch_size,
            progress=progress,
        )


class AsyncMaintenance:
    """Part of :class:`~flue_sqla.asyncio.AsyncFlue`."""

    if TYPE_CHECKING:
        sync: Any

        @property
        def artifacts(self) -> AsyncArtifacts: ...

    async def status(self) -> StatusReport:
        """As :meth:`Maintenance.status`."""
        flue: Flue = self.sync
        return await spawned(flue.status)

    async def prune(
        self,
        *,
        older_than: Age | None = None,
        keep_last: int | None = None,
        dry_run: bool = False,
        receipts_for: Age | None = None,
        instances: Iterable[tuple[str, str]] = (),
        artifacts: bool = False,
        batch_size: int = 500,
        progress: Callable[[PruneProgress], None] | None = None,
    ) -> PruneReport:
        """As :meth:`Maintenance.prune`; ``progress`` is a plain function. Cancelled, it has done some batches and not begun the others."""

        def remove_artifact(tenant: str, artifact_id: str) -> object:
            return await_only(self.artifacts.delete(artifact_id, tenant=tenant))

        return await spawned(
            Retention(self.sync._scope, remove_artifact, self.sync._offload).prune,
            older_than=older_than,
            keep_last=keep_last,
            dry_run=dry_run,
            receipts_for=receipts_for,
            instances=instances,
            artifacts=artifacts,
            batch_size=batch_size,
            progress=progress,
        )
