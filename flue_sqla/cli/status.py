"""``status``: what waits, what runs, what has expired."""

from __future__ import annotations

import time
from typing import Any

import click

from flue_sqla.cli.base import Invocation, command, pass_invocation
from flue_sqla.cli.moments import age_of, pause
from flue_sqla.records import StatusReport

__all__ = ["status"]

_COLUMNS = ["agent", "sessions", "queued", "unready", "running", "expired", "terminalizing", "joined", "oldest waiting"]


@command("status")
@click.option("--follow", is_flag=True, help="Look again and again until interrupted.")
@click.option("--interval", type=pause, metavar="SECONDS", default=2.0, show_default=True, help="Seconds between looks, with --follow.")
@pass_invocation
def status(call: Invocation, follow: bool, interval: float) -> None:
    """Show what is queued, running and expired, per agent, and how long the oldest has waited."""
    with call.flue() as flue:
        while True:
            report = flue.status()
            call.out.emit(document(report), lambda report=report: draw(call, report))  # type: ignore[misc]
            if not follow:
                return
            time.sleep(interval)


def document(report: StatusReport) -> dict[str, Any]:
    """The report for programs: every key, whether there is something or not."""
    return report.model_dump(by_alias=True)


def draw(call: Invocation, report: StatusReport) -> None:
    """The report for people."""
    rows = [
        (
            agent.agent if agent.agent is not None else "(unknown)",
            agent.sessions,
            agent.queued,
            agent.unready,
            agent.running,
            agent.expired,
            agent.terminalizing,
            agent.joining + agent.joined,
            age_of(agent.oldest_waiting_at, report.at),
        )
        for agent in report.agents
    ]
    call.out.table(_COLUMNS, rows, empty="Nothing is waiting or running.")
    runs = f"{report.active_runs} active" + (f", the oldest since {report.oldest_active_run}" if report.oldest_active_run else "")
    call.out.line(f"Runs: {runs}")
    if report.pending_deletions:
        call.out.line(f"Sessions being deleted: {report.pending_deletions}", style="yellow")
