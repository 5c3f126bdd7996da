"""``runs``: the index of workflow runs, and their events."""

from __future__ import annotations

import json
from typing import Any

import click

from flue_sqla.cli.base import Invocation, group, pass_invocation
from flue_sqla.errors import RunMissingError
from flue_sqla.records import Run, RunPointer, StoredEvent
from flue_sqla.wire import decode_run_cursor, run_path

__all__ = ["runs"]

_COLUMNS = ["run", "workflow", "status", "started", "ended", "ms"]
_WIDEST = 160


@group("runs")
def runs() -> None:
    """List and show workflow runs and their events."""


@runs.command("list")
@click.option("--status", type=click.Choice(["active", "completed", "errored"]), help="Only these.")
@click.option("--workflow", "workflow_name", metavar="NAME", help="Only runs of exactly this workflow.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--cursor", metavar="CURSOR", help="Go on after the page that gave this cursor, with the same filters.")
@pass_invocation
def list_runs(call: Invocation, status: str | None, workflow_name: str | None, limit: int, cursor: str | None) -> None:
    """Runs, newest first."""
    # The store begins anew with what is no cursor, as Flue's does; people would take the first page for the one they asked for.
    if cursor is not None and decode_run_cursor(cursor) is None:
        raise click.BadParameter("it is not the cursor of a page before", param_hint="--cursor")
    with call.flue() as flue:
        page = flue.runs.list(status=status, workflow_name=workflow_name, limit=limit, cursor=cursor)

    def draw() -> None:
        call.out.table(_COLUMNS, [_row(run) for run in page.runs], empty="No runs.")
        if page.next_cursor:
            call.out.line(f"More: --cursor {page.next_cursor}", style="dim")

    call.out.emit(page.to_wire(), draw)


@runs.command("show")
@click.argument("run_id")
@pass_invocation
def show(call: Invocation, run_id: str) -> None:
    """One run: its record and how many events it has."""
    with call.flue() as flue:
        run = flue.runs.get(run_id)
        if run is None:
            raise _missing(run_id)
        meta = flue.events.get_meta(run_path(run_id))
    stream = None if meta is None else meta.to_wire()
    call.out.emit({**run.to_wire(), "events": stream}, lambda: _draw(call, run, stream))


@runs.command("events")
@click.argument("run_id")
@click.option("--follow", is_flag=True, help="Wait for more until the run has ended.")
@click.option("--offset", default="-1", show_default=True, metavar="OFFSET", help="Begin after this event.")
@pass_invocation
def events(call: Invocation, run_id: str, follow: bool, offset: str) -> None:
    """The events of a run, one per line; with --json one document per event."""
    path = run_path(run_id)
    with call.flue() as flue:
        if flue.events.get_meta(path) is None and not follow:
            raise _missing(run_id)
        if follow:
            with flue.events.follow(path, offset) as following:
                for event in following:
                    _print(call, event)
            return
        while True:
            page = flue.events.read(path, offset=offset, limit=1000)
            for event in page.events:
                _print(call, event)
            offset = page.next_offset
            if page.up_to_date:
                return


def _missing(run_id: str) -> RunMissingError:
    return RunMissingError(f"There is no run {run_id!r}.", meta={"runId": run_id})


def _row(run: RunPointer) -> tuple[Any, ...]:
    return run.run_id, run.workflow_name, run.status, run.started_at, run.ended_at, run.duration_ms


def _draw(call: Invocation, run: Run, stream: dict[str, Any] | None) -> None:
    facts = {**run.to_wire(), "events": stream}
    call.out.table(["", ""], [(name, value if isinstance(value, str | int) else _short(value)) for name, value in facts.items()])


def _print(call: Invocation, event: StoredEvent) -> None:
    def draw() -> None:
        data = event.data if isinstance(event.data, dict) else {"type": "", "data": event.data}
        rest = {name: value for name, value in data.items() if name not in ("type", "timestamp", "runId", "v", "eventIndex")}
        call.out.line(f"{data.get('timestamp', ''):24}  {data.get('type', ''):12}  {_short(rest)}")

    call.out.emit(event.to_wire(), draw)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
