"""``flue-sqla demo``: the main job on real files, with a killed and a stopped worker, and every guarantee checked."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flue_sqla.cli.base import Invocation, command, pass_invocation
from flue_sqla.cli.exits import Exit
from flue_sqla.cli.output import counted

if TYPE_CHECKING:
    from rich.progress import Progress

    from flue_sqla.cli.demonstration.checks import Findings
    from flue_sqla.cli.demonstration.stage import Stage
    from flue_sqla.cli.demonstration.workers import Fleet
    from flue_sqla.flue import Flue

__all__ = ["demo"]

_LOOK_SECONDS = 0.05
_TELL_SECONDS = 2.0


class _Folder(click.Argument):
    """An optional argument is in brackets in the usage line, and should not be where something is wrong with it."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        return "'FOLDER'"


@command("demo")
@click.argument("folder", cls=_Folder, required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--artifacts", metavar="URL", help="Where artifact bytes go; default a temporary folder.")
@click.option("--limit", type=click.IntRange(12, 5_000), default=200, show_default=True, help="At most so many files.")
@click.option("--timeout", type=click.IntRange(10), default=240, show_default=True, help="Give up after so many seconds.")
@pass_invocation
def demo(call: Invocation, folder: Path | None, artifacts: str | None, limit: int, timeout: int) -> Exit:
    """Let three worker processes report on each Python file of FOLDER; kill one, stop another, and check what came of it.

    FOLDER is the standard library's by default. Without --url the database is a SQLite file in a temporary folder, which is kept for
    you to look at. Exit code 1 when a guarantee did not hold.
    """
    from flue_sqla.cli.demonstration.stage import stage

    prepared = stage(folder, limit, call.url, artifacts, call.settings, call.env_file)
    started = time.monotonic()
    with call.flue(migrate="auto", database_url=prepared.settings.database_url, artifacts=prepared.settings.artifacts) as flue:
        document, held = _perform(call, prepared, flue, started, timeout)
    call.out.emit(document, lambda: _show(call, prepared, document))
    return Exit.OK if held else Exit.FAILURE


def _perform(call: Invocation, stage: Stage, flue: Flue, started: float, timeout: int) -> tuple[dict[str, Any], bool]:
    from flue_sqla.cli.demonstration.checks import examine
    from flue_sqla.cli.demonstration.stage import DESKS, orders_app
    from flue_sqla.cli.demonstration.workers import Fleet

    app = orders_app()
    app.database.migrate(flue.engine)
    with flue.runs.record("demo", input={"files": len(stage.files), "batch": stage.batch}) as run, call.out.progress() as progress:
        submission_ids = app.ordering.place(flue, stage.batch, stage.files, desks=min(DESKS, len(stage.files)))
        run.emit({"type": "log", "level": "info", "message": f"{counted(len(submission_ids), 'order')} admitted"})
        fleet = Fleet(stage, flue)
        try:
            _watch(call, stage, flue, fleet, submission_ids, run, progress, started + timeout)
        finally:
            fleet.close()
        bar = progress.add_task("verifying", total=len(submission_ids))
        findings = examine(flue, stage.batch, app.ordering.AGENT, submission_ids, lambda: progress.advance(bar))
        _check_faults(findings, fleet)
        run.result = {"held": findings.held, **findings.counts}
        for check in findings.checks:
            run.emit({"type": "log", "level": "info" if check.held else "error", "message": f"{check.guarantee}: {check.found}"})
    findings.counts["milliseconds"] = round((time.monotonic() - started) * 1000)
    document = {
        "ok": findings.held,
        "run_id": run.run_id,
        "database": flue.engine.url.render_as_string(hide_password=True),
        "folder": str(stage.folder),
        **{name.replace(" ", "_"): count for name, count in findings.counts.items()},
        "checks": [{"guarantee": check.guarantee, "held": check.held, "found": check.found} for check in findings.checks],
    }
    return document, findings.held


def _watch(
    call: Invocation, stage: Stage, flue: Flue, fleet: Fleet, submission_ids: list[str], run: Any, progress: Progress, deadline: float
) -> None:
    """Follow the work, and break in: a kill after a tenth of it, a stop after half."""
    total, told = len(submission_ids), 0.0
    bar = progress.add_task("reports", total=total)
    pending = set(submission_ids)
    while pending and time.monotonic() < deadline and fleet.alive():
        pending -= _settled(flue, pending)
        done = total - len(pending)
        progress.update(bar, completed=done)
        if fleet.killed_pid is None and done >= total // 10:
            if fleet.kill_one_that_holds_work():
                _tell(call, run, f"worker {fleet.killed_pid} killed while it held {counted(len(fleet.held), 'submission')}")
        elif fleet.stopped_pid is None and done >= total // 2:
            fleet.stop_one()
            _tell(call, run, f"worker {fleet.stopped_pid} told to stop")
        if progress.disable and time.monotonic() >= told + _TELL_SECONDS:
            told = time.monotonic()
            call.out.line(f"{done} of {total} reports")
        time.sleep(_LOOK_SECONDS if fleet.killed_pid is None else 5 * _LOOK_SECONDS)


def _settled(flue: Flue, pending: set[str]) -> set[str]:
    ids = sorted(pending)
    found: set[str] = set()
    for start in range(0, len(ids), 500):
        holdings = flue.submissions.holdings(ids[start : start + 500])
        found |= {submission_id for submission_id, holding in holdings.items() if holding.status == "settled"}
    return found


def _tell(call: Invocation, run: Any, text: str) -> None:
    run.emit({"type": "log", "level": "info", "message": text})
    call.out.line(text)


def _check_faults(findings: Findings, fleet: Fleet) -> None:
    events = fleet.events()
    counts = Counter(entry["event"] for entry in events)
    recoveries = Counter(entry["submission_id"] for entry in events if entry["event"] in ("recovered", "requeued"))
    findings.counts["recovered"] = recoveries.total()
    findings.counts["steps replayed"] = counts["step_replayed"]
    findings.counts["released"] = counts["released"]
    findings.expect("a worker was killed while it held work", bool(fleet.held), True)
    recovered_once = sum(recoveries[submission_id] == 1 for submission_id in fleet.left)
    findings.expect("what it left was recovered by others, each once", recovered_once, len(fleet.left))
    replayed = sum(entry["event"] == "step_replayed" and entry["submission_id"] in fleet.left for entry in events)
    findings.expect("steps that it had recorded were replayed, not run", replayed >= fleet.steps_left > 0, True)
    findings.expect("exit code of the worker that was told to stop", fleet.exit_code, 0)


def _show(call: Invocation, stage: Stage, document: dict[str, Any]) -> None:
    shown = ("admitted", "settled", "recovered", "released", "steps_recorded", "steps_replayed", "recorded_step_values_that_changed")
    rows: list[tuple[str, Any]] = [(name.replace("_", " "), document.get(name)) for name in (*shown, "artifacts_verified")]
    call.out.table(["", "count"], [*rows, ("seconds", round(document["milliseconds"] / 1000, 1))], title="The job")
    checks = [(check["guarantee"], check["found"], "held" if check["held"] else "BROKEN") for check in document["checks"]]
    call.out.table(["guarantee", "found", ""], checks, title="What was checked")
    url, program = shlex.quote(document["database"]), _program()
    call.out.line(
        "All guarantees held." if document["ok"] else "Guarantees were broken.", style="bold green" if document["ok"] else "bold red"
    )
    call.out.line("To look closer:")
    call.out.line(f"  {program} status --url {url}")
    call.out.line(f"  {program} runs show {document['run_id']} --url {url}")
    call.out.line(f"  FLUE_ARTIFACTS={shlex.quote(stage.settings.artifacts)} {program} artifacts list --url {url}")
    call.out.line(f"Logs of the workers: {stage.folder}")


def _program() -> str:
    """How the reader's shell finds this command: by its name, or as it was called, say from the virtual environment of `make demo`."""
    called = sys.argv[0]
    return "flue-sqla" if shutil.which("flue-sqla") or Path(called).name != "flue-sqla" else shlex.quote(called)
