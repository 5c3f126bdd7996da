"""What must hold afterwards. The rows and streams are read as they are stored, with statements of the demonstration's own."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from flue_sqla.conversation import verify_stream
from flue_sqla.errors import FlueError
from flue_sqla.flue import Flue
from flue_sqla.models import tables

__all__ = ["Check", "Findings", "examine"]

_AT_ONCE = 500


@dataclass(frozen=True)
class Check:
    """One guarantee and whether it held."""

    guarantee: str
    held: bool
    found: str


@dataclass
class Findings:
    """Everything that was counted, and every guarantee that was looked at."""

    counts: dict[str, int] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    def expect(self, guarantee: str, found: object, expected: object) -> None:
        """Note whether what was found is what has to be."""
        held = found == expected
        self.checks.append(Check(guarantee, held, str(found) if held else f"{found}, not {expected}"))

    @property
    def held(self) -> bool:
        """Whether all of them held."""
        return all(check.held for check in self.checks)


def examine(flue: Flue, batch: str, agent: str, submission_ids: Sequence[str], tick: Callable[[], None]) -> Findings:
    """Check the guarantees over the submissions of one batch; ``tick`` is called for each artifact that was verified."""
    findings = Findings()
    with flue.engine.connect() as connection:
        paths = _orders(connection, batch)
        ours = connection.execution_options(schema_translate_map={None: flue.schema} if flue.schema else {})
        rows, streams = _rows(ours, paths), _streams(ours, batch, agent)
    _check_rows(findings, rows, submission_ids)
    records = [record for batches in streams.values() for _, batch_records in batches for record in batch_records]
    _check_outcomes(findings, rows, records)
    _check_steps(findings, records)
    broken = [path for path, batches in streams.items() if verify_stream(batches).broken is not None]
    findings.expect("streams that a Flue server would refuse", len(broken), 0)
    _check_artifacts(flue, findings, rows, tick)
    return findings


@dataclass(frozen=True)
class _Row:
    """An order of the application and its submission's row; ``sequence`` is None when there is no such row."""

    path: str
    submission_id: str
    sequence: int | None
    status: str | None
    error: str | None


def _orders(connection: sa.Connection, batch: str) -> dict[str, str]:
    """The application's own rows, which lie in its own schema: file by submission id."""
    orders = sa.table("orders_app_orders", *map(sa.column, ("batch", "path", "submission_id")))
    statement = sa.select(orders.c.submission_id, orders.c.path).where(orders.c.batch == batch)
    return {row.submission_id: row.path for row in connection.execute(statement)}


def _rows(connection: sa.Connection, paths: dict[str, str]) -> list[_Row]:
    submissions = _table("submissions")
    columns = (submissions.c.submission_id, submissions.c.sequence, submissions.c.status, submissions.c.error)
    stored: dict[str, Any] = {}
    ids = sorted(paths)
    for start in range(0, len(ids), _AT_ONCE):
        statement = sa.select(*columns).where(submissions.c.submission_id.in_(ids[start : start + _AT_ONCE]))
        stored |= {row.submission_id: row for row in connection.execute(statement)}
    found = []
    for submission_id, path in paths.items():
        row = stored.get(submission_id)
        found.append(
            _Row(path, submission_id, None, None, None) if row is None else _Row(path, submission_id, row.sequence, row.status, row.error)
        )
    return found


def _streams(connection: sa.Connection, batch: str, agent: str) -> dict[str, list[tuple[str, list[Any]]]]:
    batches = _table("batches")
    statement = sa.select(batches.c.path, batches.c.seq, batches.c.data).order_by(batches.c.path, batches.c.seq)
    statement = statement.where(batches.c.path.like(f"agents/{agent}/{batch}-%"))
    streams: dict[str, list[tuple[str, list[Any]]]] = defaultdict(list)
    for row in connection.execute(statement):
        streams[row.path].append((str(row.seq), json.loads(row.data)))
    return streams


def _table(name: str) -> sa.Table:
    found: sa.Table = getattr(tables, name)
    return found


def _check_rows(findings: Findings, rows: list[_Row], submission_ids: Sequence[str]) -> None:
    findings.counts["admitted"] = len(rows)
    findings.expect("orders whose submission was admitted with them", sum(row.sequence is not None for row in rows), len(submission_ids))
    settled = [row for row in rows if row.status == "settled"]
    findings.counts["settled"] = len(settled)
    findings.expect("submissions settled", len(settled), len(submission_ids))
    failures = [row.error for row in settled if row.error is not None]
    findings.expect("submissions that failed", f"{len(failures)}: {failures[0]}" if failures else 0, 0)


def _check_outcomes(findings: Findings, rows: list[_Row], records: list[dict[str, Any]]) -> None:
    outcomes: dict[str, int] = defaultdict(int)
    order: dict[str, list[str]] = defaultdict(list)
    inputs: dict[str, int] = defaultdict(int)
    for record in records:
        if record["type"] == "submission_settled":
            outcomes[record["submissionId"]] += 1
            order[record["conversationId"]].append(record["submissionId"])
        elif record["type"] == "user_message":
            inputs[record["submissionId"]] += 1
    findings.expect("submissions with exactly one outcome in their stream", sum(count == 1 for count in outcomes.values()), len(rows))
    findings.expect("inputs applied more than once", sum(count > 1 for count in inputs.values()), 0)
    sequence = {row.submission_id: row.sequence or 0 for row in rows}
    jumped = sum([sequence[one] for one in ids] != sorted(sequence[one] for one in ids) for ids in order.values())
    findings.expect("sessions that left their order", jumped, 0)


def _check_steps(findings: Findings, records: list[dict[str, Any]]) -> None:
    values: dict[tuple[str, str], set[str]] = defaultdict(set)
    attempts_after: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if record["type"] == "tool_step_settled":
            values[record["submissionId"], record["stepName"]].add(json.dumps(record["value"], sort_keys=True))
        if "attemptId" in record and attempts_after[record["submissionId"]][-1:] != [record["attemptId"]]:
            attempts_after[record["submissionId"]].append(record["attemptId"])
    findings.counts["steps recorded"] = len(values)
    findings.counts["recorded step values that changed"] = sum(len(found) > 1 for found in values.values())
    findings.expect("recorded step values that changed", findings.counts["recorded step values that changed"], 0)
    returned = sum(len(ids) != len(set(ids)) for ids in attempts_after.values())
    findings.expect("attempts that wrote after they were fenced", returned, 0)


def _check_artifacts(flue: Flue, findings: Findings, rows: list[_Row], tick: Callable[[], None]) -> None:
    verified = 0
    for row in rows:
        stored = flue.artifacts.list(submission_id=row.submission_id).artifacts
        if len(stored) == 1 and _is_right(flue, stored[0], Path(row.path)):
            verified += 1
        tick()
    findings.counts["artifacts verified"] = verified
    findings.expect("orders with one artifact, intact and about the right file", verified, len(rows))


def _is_right(flue: Flue, artifact: Any, source: Path) -> bool:
    try:
        with flue.artifacts.open(artifact.id, verify=True) as file:
            packed = file.read()
    except FlueError:
        return False
    if hashlib.sha256(packed).hexdigest() != artifact.sha256:
        return False
    report = json.loads(gzip.decompress(packed))
    return bool(report["file"] == str(source) and report["sha256"] == hashlib.sha256(source.read_bytes()).hexdigest())
