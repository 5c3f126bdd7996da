"""``prune``: one pass over everything that may go, in short transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flue_sqla.errors import InvalidInputError
from flue_sqla.records.retention import PruneProgress, PruneReport
from flue_sqla.repositories.offloading import Offload
from flue_sqla.repositories.retention.instances import count_instance, prune_instance
from flue_sqla.repositories.retention.plan import Age, Instance, Plan, Tally
from flue_sqla.repositories.retention.receipts import count_receipts, prune_receipts
from flue_sqla.repositories.retention.runs import RemoveArtifact, count_runs, prune_runs
from flue_sqla.repositories.retention.submissions import count_submissions, prune_submissions
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.repositories.sessions import Sessions

__all__ = ["Retention"]


class Retention:
    """Removes what is settled and old. Safe beside live workers and beside a second prune; killed at any point, it is run again."""

    def __init__(self, scope: Scope, remove_artifact: RemoveArtifact, offload: Offload) -> None:
        if scope.in_transaction:
            raise InvalidInputError("Prune runs in transactions of its own, not in a unit.", remedy="Call it on the Flue itself.")
        self._scope = scope
        self._remove_artifact = remove_artifact
        self._offload = offload

    def prune(
        self,
        *,
        older_than: Age | None = None,
        keep_last: int | None = None,
        dry_run: bool = False,
        receipts_for: Age | None = None,
        instances: Iterable[Instance] = (),
        artifacts: bool = False,
        batch_size: int = 500,
        progress: Callable[[PruneProgress], None] | None = None,
    ) -> PruneReport:
        """See :meth:`flue_sqla.Flue.prune`."""
        plan = Plan.of(
            self._scope.clock.now(),
            older_than=older_than,
            keep_last=keep_last,
            receipts_for=receipts_for,
            instances=instances,
            batch_size=batch_size,
            dry_run=dry_run,
        )
        tally = Tally(progress)
        if dry_run:
            self._scope.snapshot(lambda executor: self._count(executor, plan, tally, artifacts=artifacts))
        else:
            self._remove(plan, tally, self._remove_artifact if artifacts else None)
        return PruneReport(dry_run=dry_run, deleted=tally.deleted, receipts=tally.receipts)

    def _remove(self, plan: Plan, tally: Tally, remove_artifact: RemoveArtifact | None) -> None:
        for instance in plan.instances:
            prune_instance(self._scope, plan, tally, instance, remove_artifact, Sessions(self._scope).delete, self._offload)
        if plan.cutoff is not None:
            prune_submissions(self._scope, plan, tally)
            prune_runs(self._scope, plan, tally, remove_artifact)
            prune_receipts(self._scope, plan, tally)

    def _count(self, executor: Executor, plan: Plan, tally: Tally, *, artifacts: bool) -> None:
        for instance in plan.instances:
            tally.add(count_instance(executor, self._scope, instance, with_artifacts=artifacts))
        if plan.cutoff is not None:
            tally.add(count_submissions(executor, plan))
            tally.add(count_runs(executor, plan, with_artifacts=artifacts))
            tally.add(count_receipts(executor, plan))
