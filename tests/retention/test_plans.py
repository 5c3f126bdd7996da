"""Prune finds its candidates by an index, whatever else the tables hold."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla import Flue
from flue_sqla.models import tables
from flue_sqla.wire import session_key
from tests.databases.numbers import analyze, insert_many, numbers, text_of

ROWS = int(os.environ.get("FLUE_TEST_SETTLED", "50000"))
NOW = 1_780_444_800_000


@pytest.fixture
def filled(flue: Flue) -> Flue:
    """Many settled submissions and ended runs; five of each are old."""
    source, n, bounded = numbers(ROWS)
    age = sa.case((n < 5, 1_000), else_=NOW)
    key = sa.literal(session_key("assistant", "i")[:-2]) + text_of(n % 100) + '"]'
    submission = sa.select(sa.literal("s") + text_of(n), key, sa.literal("direct"), sa.literal("{}"), sa.literal("settled"), n, age + n)
    ended = sa.case((n < 5, "1970-01-01T00:00:01.000Z"), else_="2026-06-03T00:00:00.000Z")
    run = sa.select(sa.literal("run_") + text_of(n), sa.literal("w"), sa.literal("completed"), ended, ended)
    with flue.engine.begin() as connection:
        names = ["submission_id", "session_key", "kind", "payload", "status", "accepted_at", "settled_at"]
        insert_many(connection, sa.insert(tables.submissions).from_select(names, submission.select_from(source).where(bounded)))
        names = ["run_id", "workflow_name", "status", "started_at", "ended_at"]
        insert_many(connection, sa.insert(tables.runs).from_select(names, run.select_from(source).where(bounded)))
    analyze(flue.engine, "flue_agent_submissions", "flue_runs")
    return flue


@pytest.mark.parametrize("keep_last", [None, 1])
def test_candidates_are_found_by_an_index(filled: Flue, keep_last: int | None) -> None:
    plans: list[tuple[str, str]] = []
    dialect = filled.engine.dialect.name

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
        # Of all statements those that look for candidates.
        if not any(f"ORDER BY {column}" in statement for column in ("flue_agent_submissions.settled_at", "flue_runs.ended_at")):
            return
        words = {"postgresql": "EXPLAIN (ANALYZE, FORMAT JSON) ", "sqlite": "EXPLAIN QUERY PLAN "}
        raw = connection.connection.driver_connection.cursor()
        raw.execute(words.get(dialect, "ANALYZE FORMAT=JSON ") + statement, parameters)
        plans.append((statement, json.dumps([str(row) for row in raw.fetchall()])))

    sa.event.listen(filled.engine, "before_cursor_execute", explain)
    cutoff = filled.clock.now() - NOW + 1_000_000
    report = filled.prune(older_than=cutoff, keep_last=keep_last)
    assert (report.deleted["flue_agent_submissions"], report.deleted["flue_runs"]) == (5, 5)
    of_submissions = [plan for statement, plan in plans if "FROM flue_agent_submissions" in statement.partition("WHERE")[0]]
    of_runs = [plan for statement, plan in plans if "FROM flue_runs" in statement.partition("WHERE")[0]]
    assert of_submissions
    assert of_runs
    assert all("flue_agent_submissions_settled_idx" in plan for plan in of_submissions), of_submissions
    assert all("flue_runs_status_ended_idx" in plan for plan in of_runs), of_runs
    for plan in (*of_submissions, *of_runs):
        assert "SCAN flue_agent_submissions" not in plan
        assert "'Seq Scan', 'Parallel Aware': False, 'Async Capable': False, 'Relation Name': 'flue_runs'" not in plan
