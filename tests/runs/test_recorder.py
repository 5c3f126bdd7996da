"""``runs.record``: a block of code as one recorded run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flue_sqla import Flue
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.errors import InvalidInputError
from flue_sqla.records import UNSET
from flue_sqla.testing.clock import ManualClock
from tests.databases.contract import Database

FIRST = 1_780_444_800_000


def events(flue: Flue, path: str) -> list[dict[str, Any]]:
    return [event.data for event in flue.events.read(path).events]


def test_a_run_from_start_to_end(migrated: Database) -> None:
    clock = ManualClock(FIRST)
    flue = Flue(migrated.url, clock=clock)
    with flue.runs.record("nightly", input={"day": 1}, trace_carrier={"traceparent": "00-1"}) as run:
        active = flue.runs.get(run.run_id)
        assert active is not None
        assert (active.status, active.input) == ("active", {"day": 1})
        assert active.trace_carrier is not None
        assert active.trace_carrier.traceparent == "00-1"
        clock.advance(1_500)
        run.emit({"type": "log", "level": "info", "message": "hello"})
        run.result = {"rows": 3}
    ended = flue.runs.get(run.run_id)
    assert ended is not None
    assert ended.to_wire() == {
        "runId": run.run_id,
        "workflowName": "nightly",
        "status": "completed",
        "startedAt": "2026-06-03T00:00:00.000Z",
        "input": {"day": 1},
        "traceCarrier": {"traceparent": "00-1"},
        "endedAt": "2026-06-03T00:00:01.500Z",
        "isError": False,
        "durationMs": 1_500,
        "result": {"rows": 3},
    }
    envelope = {"runId": run.run_id, "v": 3}
    assert events(flue, run.path) == [
        {
            "type": "run_start",
            "workflowName": "nightly",
            "startedAt": "2026-06-03T00:00:00.000Z",
            "input": {"day": 1},
            "eventIndex": 0,
            "timestamp": "2026-06-03T00:00:00.000Z",
            **envelope,
        },
        {
            "type": "log",
            "level": "info",
            "message": "hello",
            "eventIndex": 1,
            "timestamp": "2026-06-03T00:00:01.500Z",
            **envelope,
        },
        {
            "type": "run_end",
            "result": {"rows": 3},
            "isError": False,
            "durationMs": 1_500,
            "eventIndex": 2,
            "timestamp": "2026-06-03T00:00:01.500Z",
            **envelope,
        },
    ]
    assert flue.events.read(run.path).closed
    flue.close()


def test_an_exception_is_the_runs_error_and_goes_on(flue: Flue) -> None:
    with pytest.raises(ValueError, match="no data"), flue.runs.record("nightly") as run:  # noqa: PT012
        run.result = "not this"
        raise ValueError("no data")
    ended = flue.runs.get(run.run_id)
    assert ended is not None
    assert (ended.status, ended.is_error, ended.error) == ("errored", True, {"name": "ValueError", "message": "no data"})
    assert ended.result is UNSET
    assert ended.input is UNSET
    last = events(flue, run.path)[-1]
    assert (last["type"], last["isError"], last["error"], last["result"]) == ("run_end", True, ended.error, None)
    assert flue.events.read(run.path).closed


def test_a_run_without_a_result_has_null(flue: Flue) -> None:
    with flue.runs.record("nightly") as run:
        pass
    ended = flue.runs.get(run.run_id)
    assert ended is not None
    assert ended.to_wire()["result"] is None


def test_a_result_that_is_no_json_makes_an_errored_run(flue: Flue) -> None:
    with pytest.raises(InvalidInputError), flue.runs.record("nightly") as run:
        run.result = object()
    ended = flue.runs.get(run.run_id)
    assert ended is not None
    assert (ended.status, ended.error["name"]) == ("errored", "InvalidInputError")


def test_deltas_are_merged_and_keep_their_place(migrated: Database) -> None:
    clock = ManualClock(FIRST)
    flue = Flue(migrated.url, clock=clock)
    with flue.runs.record("nightly") as run:
        assert run.emit({"type": "text_delta", "text": "a", "turnId": "t"}) is None
        run.emit({"type": "text_delta", "text": "b", "turnId": "t"})
        run.emit({"type": "text_delta", "text": "c", "turnId": "u"})
        run.emit({"type": "thinking_delta", "contentIndex": 0, "delta": "x"})
        run.emit({"type": "thinking_delta", "contentIndex": 0, "delta": "y"})
        assert run.emit({"type": "turn_request", "request": "secret"}) is None
        assert run.emit({"type": "log", "message": "m"}) is not None
        run.emit({"type": "text_delta", "text": "d"})
        clock.advance(3_000)
        run.emit({"type": "text_delta", "text": "e"})
    told = [(event["type"], event.get("text") or event.get("delta")) for event in events(flue, run.path)]
    assert told == [
        ("run_start", None),
        ("text_delta", "ab"),
        ("text_delta", "c"),
        ("thinking_delta", "xy"),
        ("log", None),
        ("text_delta", "d"),
        ("text_delta", "e"),
        ("run_end", None),
    ]
    assert [event["eventIndex"] for event in events(flue, run.path)] == list(range(8))
    flue.close()


@pytest.mark.parametrize("bad", [{}, {"type": 1}, {"type": "log", "message": object()}])
def test_what_is_no_event_is_refused(flue: Flue, bad: dict[str, Any]) -> None:
    with flue.runs.record("nightly") as run, pytest.raises(InvalidInputError):
        run.emit(bad)
    assert [event["type"] for event in events(flue, run.path)] == ["run_start", "run_end"]


def test_an_event_that_cannot_be_stored_does_not_end_the_run(flue: Flue, caplog: pytest.LogCaptureFixture) -> None:
    with flue.runs.record("nightly") as run:
        flue.events.close(run.path)
        assert run.emit({"type": "log"}) is None
        run.result = 1
    ended = flue.runs.get(run.run_id)
    assert ended is not None
    assert (ended.status, ended.result) == ("completed", 1)
    assert "could not be written" in caplog.text


def test_a_run_whose_stream_cannot_be_made_is_errored(flue: Flue, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise LookupError("no stream")

    recorder = flue.runs.record("nightly")
    monkeypatch.setattr(recorder.log._events, "create", refuse)
    with pytest.raises(LookupError), recorder:
        raise AssertionError("not entered")
    ended = flue.runs.get(recorder.run_id)
    assert ended is not None
    assert (ended.status, ended.error) == ("errored", {"name": "LookupError", "message": "no stream"})


def test_a_given_id_names_the_run_and_the_first_writer_wins(flue: Flue) -> None:
    with flue.runs.record("nightly", run_id="run_mine", input=1) as run:
        assert run.run_id == "run_mine"
    found = flue.runs.lookup("run_mine")
    assert found is not None
    assert found.to_wire() == {"runId": "run_mine", "workflowName": "nightly"}


async def test_awaited(aflue: AsyncFlue) -> None:
    async with aflue.runs.record("nightly", input=None) as run:
        await asyncio.gather(*(run.emit({"type": "log", "message": str(n)}) for n in range(5)))
        run.result = [1]
    ended = await aflue.runs.get(run.run_id)
    assert ended is not None
    assert (ended.status, ended.result, ended.input) == ("completed", [1], None)
    page = await aflue.events.read(run.path)
    assert [event.data["type"] for event in page.events] == ["run_start", *["log"] * 5, "run_end"]
    assert page.closed


async def test_a_cancelled_block_is_an_errored_run(aflue: AsyncFlue) -> None:
    entered = asyncio.Event()
    ids: list[str] = []

    async def work() -> None:
        async with aflue.runs.record("nightly") as run:
            ids.append(run.run_id)
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ended = await aflue.runs.get(ids[0])
    assert ended is not None
    assert (ended.status, ended.error["name"]) == ("errored", "CancelledError")
    assert (await aflue.events.read(f"runs/{ids[0]}")).closed


def test_a_run_may_be_part_of_a_unit(flue: Flue) -> None:
    with flue.begin() as unit, unit.runs.record("nightly") as run:
        run.result = 1
    assert flue.runs.get(run.run_id) is not None
    with pytest.raises(LookupError), flue.begin() as unit, unit.runs.record("nightly") as run:
        raise LookupError
    assert flue.runs.get(run.run_id) is None
