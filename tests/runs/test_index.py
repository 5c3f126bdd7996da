"""The index of runs: every filter has its index, and the thousandth page costs what the first one costs."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla import Flue
from flue_sqla.errors import InvalidInputError, ValueTooLargeError
from flue_sqla.models import tables
from flue_sqla.wire import encode_run_cursor
from tests.databases.contract import Database
from tests.databases.numbers import analyze, insert_many, numbers, text_of
from tests.databases.traffic import Traffic

ROWS = int(os.environ.get("FLUE_TEST_RUNS", "50000"))
FILTERS: list[tuple[dict[str, str], str]] = [
    ({}, "flue_runs_started_idx"),
    ({"status": "completed"}, "flue_runs_status_started_idx"),
    ({"workflow_name": "workflow-3"}, "flue_runs_workflow_started_idx"),
    ({"status": "completed", "workflow_name": "workflow-3"}, "flue_runs_workflow_status_started_idx"),
]


def fill(flue: Flue) -> None:
    """Runs in a row, a few in each millisecond, of ten workflows and two statuses."""
    source, n, bounded = numbers(ROWS)
    second = text_of(n / 20 if flue.engine.dialect.name == "postgresql" else sa.cast(n / 20, sa.Integer()), 6)
    row = sa.select(
        sa.literal("run_") + text_of(n, 8),
        sa.literal("workflow-") + text_of(n % 10),
        sa.case((n % 3 == 0, "errored"), else_="completed"),
        sa.literal("2026-06-01T10:") + second + ".000Z",
    )
    names = ["run_id", "workflow_name", "status", "started_at"]
    with flue.engine.begin() as connection:
        insert_many(connection, sa.insert(tables.runs).from_select(names, row.select_from(source).where(bounded)))
    analyze(flue.engine, "flue_runs")


class Explained:
    """What the database says about each statement that is executed meanwhile: the index, and what was looked at."""

    def __init__(self, engine: sa.Engine) -> None:
        self.dialect = engine.dialect.name
        self.text = ""
        self.index: str | None = None
        self.looked_at = 0
        """Pages on PostgreSQL, rows on MariaDB; SQLite does not say."""
        sa.event.listen(engine, "before_cursor_execute", self._explain)

    def _explain(self, connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
        if not statement.startswith("SELECT"):
            return
        words = {"postgresql": "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, FORMAT JSON) ", "sqlite": "EXPLAIN QUERY PLAN "}
        raw = connection.connection.driver_connection.cursor()
        raw.execute(words.get(self.dialect, "ANALYZE FORMAT=JSON ") + statement, parameters)
        rows = raw.fetchall()
        self.text = str(rows)
        if self.dialect == "sqlite":
            self.index = str(rows[0][3]).partition("INDEX ")[2].partition(" ")[0]
        elif self.dialect == "postgresql":
            plan = rows[0][0][0]["Plan"]
            self.index = next(iter(_all(plan, "Index Name")), None)
            self.looked_at = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        else:
            plan = json.loads(rows[0][0])
            self.index = next(iter(_all(plan, "key")), None)
            self.looked_at = int(sum(_all(plan, "r_rows")))

    @property
    def sorts(self) -> bool:
        """Whether rows are sorted instead of being read in order."""
        return any(word in self.text for word in ("TEMP B-TREE", "filesort", "'Sort'"))


def _all(node: Any, key: str) -> list[Any]:
    if isinstance(node, dict):
        return [node[key] for _ in range(key in node)] + [found for value in node.values() for found in _all(value, key)]
    return [found for item in node for found in _all(item, key)] if isinstance(node, list) else []


def test_every_filter_has_its_index_and_every_page_the_same_cost(flue: Flue) -> None:
    fill(flue)
    explained = Explained(flue.engine)
    deep = encode_run_cursor("2026-06-01T10:" + f"{ROWS // 100:06d}" + ".000Z", "run_99999999")
    for filters, index in FILTERS:
        costs = []
        for cursor in (None, deep):
            page = flue.runs.list(limit=20, cursor=cursor, **filters)  # type: ignore[arg-type]
            assert len(page.runs) == 20
            assert (explained.index, explained.sorts) == (index, False), explained.text
            costs.append(explained.looked_at)
        assert costs[1] <= 2 * costs[0] + 20, costs


def test_all_pages_together_are_all_runs_in_order(flue: Flue) -> None:
    for number in range(25):
        flue.runs.create(run_id=f"run_{number:02}", workflow_name="w", started_at=f"2026-06-01T10:00:0{number % 3}.000Z")
    walked, cursor = [], None
    while True:
        page = flue.runs.list(limit=4, cursor=cursor, workflow_name="w")
        walked += [(run.started_at, run.run_id) for run in page.runs]
        if (cursor := page.next_cursor) is None:
            break
    assert walked == sorted(walked, reverse=True)
    assert len(walked) == 25


@pytest.mark.databases("postgres")
def test_round_trips(flue: Flue) -> None:
    traffic = Traffic(flue.engine)
    with traffic.at_most(1):
        flue.runs.create(run_id="run_1", workflow_name="w", started_at="2026-06-01T10:00:00.000Z", input={"a": 1})
    with traffic.at_most(1):
        flue.runs.end("run_1", ended_at="2026-06-01T10:00:01.000Z", is_error=False, duration_ms=1_000)
    for call in (lambda: flue.runs.list(), lambda: flue.runs.get("run_1"), lambda: flue.runs.lookup("run_1")):
        with traffic.at_most(1):
            call()


def test_pages_follow_the_bytes_under_another_collation(icu_migrated: Database) -> None:
    flue = Flue(icu_migrated.url)
    names = ["run_B", "run__", "run_a", "run_Z", "run_é", "run_1"]
    for name in names:
        flue.runs.create(run_id=name, workflow_name="w", started_at="2026-06-01T10:00:00.000Z")
    walked, cursor = [], None
    while True:
        page = flue.runs.list(limit=1, cursor=cursor)
        walked += [run.run_id for run in page.runs]
        if (cursor := page.next_cursor) is None:
            break
    assert walked == sorted(names, key=str.encode, reverse=True)
    flue.close()


def test_what_cannot_be_stored_is_refused_before_any_statement(flue: Flue) -> None:
    traffic = Traffic(flue.engine)
    with traffic.measured():
        for bad in ({"run_id": "a\0"}, {"input": 2**60}, {"workflow_name": "\ud800"}):
            with pytest.raises(InvalidInputError):
                flue.runs.create(**{"run_id": "r", "workflow_name": "w", "started_at": "t", **bad})
        for duration in (-1, 2**31, 1.5):
            with pytest.raises(InvalidInputError, match="milliseconds"):
                flue.runs.end("r", ended_at="t", is_error=False, duration_ms=duration)  # type: ignore[arg-type]
    assert traffic.statements == []


@pytest.mark.databases("mariadb")
def test_long_names_are_refused_and_never_cut(flue: Flue) -> None:
    for bad in ({"run_id": "r" * 256}, {"workflow_name": "w" * 256}, {"started_at": "t" * 65}):
        with pytest.raises(ValueTooLargeError):
            flue.runs.create(**{"run_id": "r", "workflow_name": "w", "started_at": "t", **bad})


@pytest.mark.databases("mariadb")
def test_what_its_columns_would_replace_is_refused_and_never_stored(flue: Flue) -> None:
    run = {"run_id": "r", "workflow_name": "w", "started_at": "t"}
    for bad in ({"started_at": "２０２６"}, {"trace_carrier": {"traceparent": "é"}}):
        with pytest.raises(InvalidInputError, match="not ASCII"):
            flue.runs.create(**{**run, **bad})
    assert flue.runs.get("r") is None
    flue.runs.create(**run)
    with pytest.raises(InvalidInputError, match="not ASCII"):
        flue.runs.end("r", ended_at="é", is_error=False, duration_ms=1)


def test_a_missing_text_is_refused_and_never_stored_as_an_empty_one(flue: Flue) -> None:
    for bad in ("run_id", "workflow_name", "started_at"):
        with pytest.raises(InvalidInputError, match=bad):
            flue.runs.create(**{"run_id": "r", "workflow_name": "w", "started_at": "t", bad: None})
    assert flue.runs.list().runs == []


def test_what_no_run_can_be_finds_none(flue: Flue) -> None:
    flue.runs.create(run_id="r", workflow_name="w", started_at="2026-06-01T10:00:00.000Z")
    assert flue.runs.list(status="é").runs == []
    assert len(flue.runs.list(cursor=encode_run_cursor("2026-06-01T10:00:00.000Zé", "r")).runs) <= 1
    assert (flue.runs.get("r "), flue.runs.lookup("r ")) == (None, None)
    with suppress(InvalidInputError):  # where blanks at the end do not count, so that the other run is not ended
        flue.runs.end("r ", ended_at="t", is_error=True, duration_ms=1)
    found = flue.runs.get("r")
    assert found is not None
    assert found.status == "active"
