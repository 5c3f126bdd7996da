"""``flue-sqla demo``: boots a fresh database twice and shows the verdicts."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from flue_sqla.cli.base import Invocation, command, pass_invocation
from flue_sqla.cli.exits import Exit
from flue_sqla.cli.schema import judge

__all__ = ["demo"]


@command("demo")
@pass_invocation
def demo(call: Invocation) -> Exit:
    """Boot a database twice: the first boot migrates it, the second finds it current with one statement.

    Without --url the database is a SQLite file in a temporary folder.
    """
    with tempfile.TemporaryDirectory(prefix="flue-demo-") as folder:
        given = {"artifacts": str(Path(folder, "artifacts"))}
        if call.url is None:
            given["database_url"] = f"sqlite:///{Path(folder, 'flue.db')}"
        with call.flue(boot=False, migrate="auto", **given) as flue:
            before = judge(flue)
            boots = [_boot(flue), _boot(flue)]
    steps: list[dict[str, Any]] = [{"step": "found", "verdict": before.kind.value}]
    steps += [{"step": f"boot {number}", **outcome} for number, outcome in enumerate(boots, 1)]
    held = boots[0]["verdict"] == boots[1]["verdict"] == "current" and boots[1]["statements"] == 1

    def render() -> None:
        rows = [(step["step"], step["verdict"], step.get("statements"), step.get("milliseconds")) for step in steps]
        call.out.table(["step", "verdict", "statements", "ms"], rows)
        call.out.line("Current after the first boot; one statement in the second." if held else "The guarantees did not hold.")

    call.out.emit({"ok": held, "steps": steps}, render)
    return Exit.OK if held else Exit.FAILURE


def _boot(flue: Any) -> dict[str, Any]:
    """Boot once and count what it sent."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    sa.event.listen(flue.engine, "before_cursor_execute", note)
    started = time.perf_counter()
    try:
        verdict = flue.boot()
    finally:
        sa.event.remove(flue.engine, "before_cursor_execute", note)
    elapsed = round((time.perf_counter() - started) * 1000, 1)
    return {"verdict": verdict.kind.value, "statements": len(statements), "milliseconds": elapsed}
