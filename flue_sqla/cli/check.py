"""``check``: is this installation able to work, and if not, what has to be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flue_sqla.cli.base import Invocation, command, pass_invocation

if TYPE_CHECKING:
    from flue_sqla.checks import CheckReport

__all__ = ["check"]

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


@command("check")
@click.option("--init", is_flag=True, help="Also migrate the database and create a missing bucket.")
@pass_invocation
def check(call: Invocation, init: bool) -> int:
    """Check settings, database, clock, schema, rights and object store by really using them.

    Changes nothing unless --init is given, and leaves nothing behind. Exit codes: 0 all well, 2 settings, 3 database, 4 schema,
    5 object store; the first of these in which something failed.
    """
    from flue_sqla.checks import run_checks

    report = run_checks(call.settings, init=init)
    call.out.emit(report.to_wire(), lambda: _show(call, report))
    return report.exit_code


def _show(call: Invocation, report: CheckReport) -> None:
    rows = [(step.name, step.status.value, step.duration_ms, step.detail) for step in report.steps]
    call.out.table(["step", "status", "ms", "found"], rows)
    for step in report.steps:
        if step.remedy:
            call.out.line(f"{step.name}: {step.remedy}", style=_STYLES[step.status.value])
    found = {"Storage": report.storage_backend, "schema": report.schema_revision, "format": report.format_version}
    if known := [f"{name} {value}" for name, value in found.items() if value is not None]:
        call.out.line(", ".join(known), style="dim")
