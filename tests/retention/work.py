"""Things to prune."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from flue_sqla import Attempt, Flue
from flue_sqla.models import tables
from flue_sqla.wire import format_timestamp, run_path, session_key
from tests.submissions.inputs import run

HOUR = 3_600_000
DAY = 24 * HOUR


def settled(flue: Flue, name: str, instance: str = "agent-1") -> None:
    """A settled dispatch with everything that hangs on a submission."""
    attempt = run(flue, name, instance=instance)
    dress(flue, attempt, session_key("assistant", instance))
    assert flue.submissions.complete(attempt)


def dress(flue: Flue, attempt: Attempt, key: str) -> None:
    """Journal, buffered segments and marker of an attempt."""
    flue.journals.begin(
        submission_id=attempt.submission_id,
        session_key=key,
        kind="dispatch",
        attempt_id=attempt.attempt_id,
        operation_id="op",
        turn_id="turn",
        phase="before_provider",
    )
    stream = f"{attempt.submission_id}:turn:{attempt.attempt_id}"
    flue.journals.update_phase(attempt, "provider_started", stream_key=stream)
    for index in range(2):
        flue.journals.append_segment(stream, index, "[]")
    flue.journals.insert_marker(attempt)


def ended_run(flue: Flue, run_id: str, workflow: str = "nightly", events: int = 2) -> None:
    """A run that has ended now, with its closed stream."""
    flue.runs.create(run_id=run_id, workflow_name=workflow, started_at=format_timestamp(flue.clock.now()))
    flue.events.create(run_path(run_id))
    for number in range(events):
        flue.events.append(run_path(run_id), number)
    flue.events.close(run_path(run_id))
    flue.runs.end(run_id, ended_at=format_timestamp(flue.clock.now()), is_error=False, duration_ms=0)


def count(flue: Flue, table: sa.Table, *where: sa.ColumnElement[bool]) -> int:
    """Rows of a table."""
    with flue.engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table).where(*where)).scalar_one())


def values(flue: Flue, column: sa.ColumnElement[Any]) -> list[Any]:
    """One column, sorted."""
    with flue.engine.connect() as connection:
        return sorted(connection.execute(sa.select(column)).scalars())


def counts(flue: Flue, names: Iterable[str]) -> dict[str, int]:
    """Rows by table."""
    found = {table.name: table for table in vars(tables).values() if isinstance(table, sa.Table)}
    return {name: count(flue, found[name]) for name in names}
