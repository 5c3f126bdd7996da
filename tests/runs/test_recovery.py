"""``runs.recover``: what a dead process left, repaired once."""

from __future__ import annotations

from typing import Any

import pytest

from flue_sqla import Flue
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.errors import InvalidInputError
from flue_sqla.records import UNSET
from flue_sqla.testing.clock import ManualClock
from flue_sqla.wire import format_timestamp, run_path
from tests.databases.contract import Database

STARTED = 1_780_444_800_000
HOUR = 3_600_000
INTERRUPTED = {"name": "RunInterrupted", "message": "The process that ran this workflow ended before the run did."}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(STARTED)


@pytest.fixture
def old(migrated: Database, clock: ManualClock) -> Any:
    """A Flue whose clock the test moves."""
    flue = Flue(migrated.url, clock=clock)
    yield flue
    flue.close()


def begin(flue: Flue, run_id: str = "run_1", events: int = 2) -> None:
    """A run as its process leaves it when it dies in the middle."""
    flue.runs.create(run_id=run_id, workflow_name="nightly", started_at=format_timestamp(flue.clock.now()), input=1)
    flue.events.create(run_path(run_id))
    for index in range(events):
        flue.events.append(run_path(run_id), event("log" if index else "run_start", flue, index))


def event(kind: str, flue: Flue, index: int, **fields: Any) -> dict[str, Any]:
    envelope = {"runId": "run_1", "v": 3, "eventIndex": index, "timestamp": format_timestamp(flue.clock.now())}
    named = {"workflowName": "nightly", "startedAt": format_timestamp(STARTED)} if kind == "run_start" else {}
    return {"type": kind, **named, **fields, **envelope}


def told(flue: Flue, run_id: str = "run_1") -> list[tuple[str, int]]:
    return [(event.data["type"], event.data["eventIndex"]) for event in flue.events.read(run_path(run_id)).events]


def test_a_dead_run_is_resumed_and_ended_with_an_error(old: Flue, clock: ManualClock) -> None:
    begin(old)
    clock.advance(HOUR)
    assert old.runs.recover(clock.now() - 1) == ["run_1"]
    assert told(old) == [("run_start", 0), ("log", 1), ("run_resume", 2), ("run_end", 3)]
    ended = old.runs.get("run_1")
    assert ended is not None
    assert (ended.status, ended.error, ended.duration_ms, ended.input) == ("errored", INTERRUPTED, HOUR, 1)
    assert ended.result is UNSET
    page = old.events.read(run_path("run_1"))
    assert page.closed
    assert page.events[-1].data == {
        "type": "run_end",
        "runId": "run_1",
        "result": None,
        "isError": True,
        "error": INTERRUPTED,
        "durationMs": HOUR,
        "v": 3,
        "eventIndex": 3,
        "timestamp": format_timestamp(clock.now()),
    }
    assert old.runs.recover(clock.now()) == [], "a second time there is nothing to do"


def test_a_run_that_shows_life_is_left_alone(old: Flue, clock: ManualClock) -> None:
    begin(old)
    clock.advance(HOUR)
    old.events.append(run_path("run_1"), event("log", old, 2))
    assert old.runs.recover(clock.now() - HOUR // 2) == []
    begin(old, "run_2")
    assert old.runs.recover(clock.now() - HOUR // 2) == []
    found = old.runs.get("run_1")
    assert found is not None
    assert found.status == "active"


def test_an_end_in_the_stream_is_carried_over_to_the_record(old: Flue, clock: ManualClock) -> None:
    begin(old)
    old.events.append_once(run_path("run_1"), "run_end", event("run_end", old, 2, result={"ok": 1}, isError=False, durationMs=77))
    ended_at = format_timestamp(clock.now())
    clock.advance(HOUR)
    assert old.runs.recover(clock.now()) == ["run_1"]
    ended = old.runs.get("run_1")
    assert ended is not None
    assert (ended.status, ended.result, ended.duration_ms, ended.ended_at) == ("completed", {"ok": 1}, 77, ended_at)
    assert told(old)[-1] == ("run_end", 2)
    assert old.events.read(run_path("run_1")).closed


def test_an_ended_record_closes_its_stream(old: Flue, clock: ManualClock) -> None:
    begin(old)
    old.runs.end("run_1", ended_at=format_timestamp(clock.now()), is_error=True, duration_ms=5, error={"name": "E", "message": "m"})
    clock.advance(HOUR)
    assert old.runs.recover(clock.now()) == ["run_1"]
    last = old.events.read(run_path("run_1")).events[-1].data
    assert (last["type"], last["isError"], last["error"], last["durationMs"]) == ("run_end", True, {"name": "E", "message": "m"}, 5)
    assert old.events.read(run_path("run_1")).closed
    assert old.runs.recover(clock.now()) == []


def test_a_stream_without_a_record_gets_one(old: Flue, clock: ManualClock) -> None:
    old.events.create(run_path("run_1"))
    old.events.append(run_path("run_1"), event("run_start", old, 0))
    old.events.append(run_path("run_1"), event("run_end", old, 1, result=None, isError=False, durationMs=3))
    ended_at = format_timestamp(clock.now())
    clock.advance(HOUR)
    assert old.runs.recover(clock.now()) == ["run_1"]
    made = old.runs.get("run_1")
    assert made is not None
    assert (made.workflow_name, made.status, made.started_at, made.ended_at) == ("nightly", "completed", ended_at, ended_at)


def test_a_record_without_a_stream_gets_one(old: Flue, clock: ManualClock) -> None:
    old.runs.create(run_id="run_1", workflow_name="nightly", started_at=format_timestamp(clock.now()))
    clock.advance(HOUR)
    assert old.runs.recover(clock.now()) == ["run_1"]
    assert told(old) == [("run_resume", 0), ("run_end", 1)]
    ended = old.runs.get("run_1")
    assert ended is not None
    assert ended.status == "errored"


def test_streams_of_agents_and_ended_runs_are_not_touched(old: Flue, clock: ManualClock) -> None:
    old.events.create("agents/assistant/agent-1")
    old.events.create("runs/")
    with old.runs.record("nightly") as run:
        pass
    before = old.events.read(run.path)
    clock.advance(HOUR)
    old.runs.recover(clock.now())
    assert old.events.get_meta("agents/assistant/agent-1").closed is False  # type: ignore[union-attr]
    assert old.events.read(run.path) == before


def test_many_runs_are_found_page_by_page(old: Flue, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flue_sqla.repositories.runs.recovery._BATCH", 3)
    for number in range(8):
        begin(old, f"run_{number}", events=0)
        clock.advance(number % 2)
    clock.advance(HOUR)
    assert sorted(old.runs.recover(clock.now())) == [f"run_{number}" for number in range(8)]


def test_a_live_process_that_was_recovered_keeps_the_last_word_on_the_record(old: Flue, clock: ManualClock) -> None:
    with old.runs.record("nightly") as run:
        clock.advance(HOUR)
        assert old.runs.recover(clock.now()) == [run.run_id]
        assert run.emit({"type": "log"}) is None
        run.result = "done"
    ended = old.runs.get(run.run_id)
    assert ended is not None
    assert (ended.status, ended.result) == ("completed", "done")


def test_not_in_a_unit(flue: Flue) -> None:
    with flue.begin() as unit, pytest.raises(InvalidInputError):
        unit.runs.recover(0)


async def test_awaited(aflue: AsyncFlue) -> None:
    await aflue.runs.create(run_id="run_1", workflow_name="nightly", started_at="2020-01-01T00:00:00.000Z")
    assert await aflue.runs.recover(aflue.clock.now()) == ["run_1"]
