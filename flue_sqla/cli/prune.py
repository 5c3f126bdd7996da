"""``prune``: delete what is settled and old."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import click

from flue_sqla.cli.base import Invocation, command, pass_invocation
from flue_sqla.cli.moments import age
from flue_sqla.cli.output import counted
from flue_sqla.records import PruneProgress, PruneReport

__all__ = ["prune"]


@command("prune")
@click.option("--older-than", type=age, metavar="AGE", help="What ended longer ago than this goes: 90s, 15m, 12h, 30d, 4w.")
@click.option("--keep-last", type=click.IntRange(0, 10**9), metavar="N", help="Keep the last N of each session and workflow, however old.")
@click.option("--receipts-for", type=age, default="30d", show_default=True, metavar="AGE", help="How long receipts are kept.")
@click.option(
    "--instance", "instances", type=(str, str), multiple=True, metavar="AGENT ID", help="Remove all data of this instance. Repeatable."
)
@click.option("--artifacts", is_flag=True, help="Remove the artifacts of pruned runs too.")
@click.option("--batch-size", type=click.IntRange(1, 10_000), default=500, show_default=True, help="Things per transaction.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@pass_invocation
def prune(
    call: Invocation,
    older_than: timedelta | None,
    keep_last: int | None,
    receipts_for: timedelta,
    instances: tuple[tuple[str, str], ...],
    artifacts: bool,
    batch_size: int,
    dry_run: bool,
) -> None:
    """Delete settled submissions, ended runs and expired receipts that are old enough; nothing that has not ended.

    Killed at any point, it can be run again. It may run beside workers and beside another prune.
    """
    if older_than is None and keep_last is None and not instances:
        raise click.UsageError("Say what may go: --older-than, --keep-last or --instance.")
    with call.flue() as flue, call.out.progress() as bars:
        report = flue.prune(
            older_than=older_than,
            keep_last=keep_last,
            dry_run=dry_run,
            receipts_for=receipts_for,
            instances=instances,
            artifacts=artifacts,
            batch_size=batch_size,
            progress=_teller(bars),
        )
    call.out.emit(report.to_wire(), lambda: _draw(call, report))


def _teller(bars: Any) -> Callable[[PruneProgress], None]:
    """One bar per kind of thing, made when its first batch is done."""
    tasks: dict[str, Any] = {}

    def tell(progress: PruneProgress) -> None:
        if progress.step not in tasks:
            tasks[progress.step] = bars.add_task(progress.step, total=progress.total)
        bars.update(tasks[progress.step], completed=progress.done, total=progress.total)

    return tell


def _draw(call: Invocation, report: PruneReport) -> None:
    verb = "would go" if report.dry_run else "gone"
    call.out.table(["table", verb], [(table, number) for table, number in sorted(report.deleted.items()) if number])
    left = "would be left" if report.dry_run else "left"
    call.out.line(f"{counted(report.total, 'row')} in all; {counted(report.receipts, 'receipt')} {left}.")
