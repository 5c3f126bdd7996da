"""``snapshot export``, ``import`` and ``inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flue_sqla.cli.base import Invocation, group, pass_invocation
from flue_sqla.cli.output import counted
from flue_sqla.cli.targets import refuse_early, writing

if TYPE_CHECKING:
    from flue_sqla.snapshot import LoadReport, Mode, SnapshotInfo

__all__ = ["snapshot"]


@group("snapshot")
def snapshot() -> None:
    """Export everything into one file, look at a file, and import it, also into a database of another kind."""


@snapshot.command("export")
@click.argument("path", metavar="OUT", type=click.Path(dir_okay=False))
@click.option("--blobs", is_flag=True, help="Include the bytes of the artifacts.")
@click.option("--tenant", metavar="NAME", help="Only the artifacts of this tenant, and nothing else.")
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@pass_invocation
def export_command(call: Invocation, path: str, blobs: bool, tenant: str | None, force: bool) -> None:
    """Write a snapshot to OUT, which ends in .gz to be compressed. Writers go on meanwhile; the file shows one moment.

    A file that is there already is left alone unless --force is given, and then replaced only by a complete one.
    """
    from flue_sqla.snapshot import export

    if path == "-":
        raise click.BadParameter("a snapshot is a file and cannot be written to standard output", param_hint="OUT")
    refuse_early(path, force=force)
    with call.flue() as flue, writing(path):
        info = export(flue, path, blobs=blobs, tenant=tenant)
    call.out.emit(info.to_wire(), lambda: _show_info(call, info))


@snapshot.command("inspect")
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False))
@pass_invocation
def inspect_command(call: Invocation, path: str) -> None:
    """Verify every checksum of FILE and say what is in it. No database is needed."""
    from flue_sqla.snapshot import inspect

    info = inspect(path)
    call.out.emit(info.to_wire(), lambda: _show_info(call, info))


@snapshot.command("import")
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--mode",
    type=click.Choice(["refuse", "replace", "merge"]),
    default="refuse",
    show_default=True,
    help="What to do with rows that are there: refuse, delete them first, or add what is missing and refuse what differs.",
)
@click.option("--dry-run", is_flag=True, help="Check everything and say what would happen, without changing anything.")
@pass_invocation
def import_command(call: Invocation, path: str, mode: Mode, dry_run: bool) -> None:
    """Read FILE into a migrated database: all of it or nothing. Stop workers and servers first."""
    from flue_sqla.snapshot import load

    with call.flue() as flue:
        report = load(flue, path, mode=mode, dry_run=dry_run)
    call.out.emit(report.to_wire(), lambda: _show_report(call, report))


def _show_info(call: Invocation, info: SnapshotInfo) -> None:
    call.out.table(["table", "rows"], [(name, table.rows) for name, table in info.tables.items() if table.rows])
    what = f"{counted(info.rows, 'row')} of schema {info.schema_revision}"
    if info.has_blobs:
        what += f", {counted(info.blobs, 'blob')} of {counted(info.blob_bytes, 'byte')}"
    if info.tenant is not None:
        what += f", tenant {info.tenant!r} only"
    call.out.line(f"{info.path}: {what}")
    call.out.line(f"SHA-256 {info.sha256}", style="dim")


def _show_report(call: Invocation, report: LoadReport) -> None:
    rows = [(name, table.inserted, table.skipped, table.deleted) for name, table in report.tables.items()]
    call.out.table(["table", "inserted", "identical", "deleted"], [row for row in rows if any(row[1:])])
    verb = "Would be" if report.dry_run else "Done:"
    call.out.line(f"{verb} {counted(report.inserted, 'row')} inserted, {report.skipped} identical, {report.deleted} deleted.")
    if report.blobs_stored or report.blobs_present:
        call.out.line(f"Blobs: {report.blobs_stored} stored, {report.blobs_present} there already.")
