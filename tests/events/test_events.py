"""Event streams beyond the contract: units, following, order of calls, listeners."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flue_sqla import Flue
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.errors import InvalidInputError, RequestConflictError, StreamClosedError, ValueTooLargeError
from flue_sqla.wire import format_offset
from tests.databases.contract import Database
from tests.databases.traffic import Traffic
from tests.submissions.waiting import in_background, until_blocked

PATH = "runs/run_1"


def stored(flue: Flue, path: str = PATH) -> list[Any]:
    return [event.data for event in flue.events.read(path).events]


@pytest.mark.databases("postgres")
def test_round_trips(flue: Flue) -> None:
    traffic = Traffic(flue.engine)
    with traffic.at_most(1):
        flue.events.create(PATH)
    with traffic.at_most(1):
        flue.events.append(PATH, {"type": "log"})
    with traffic.at_most(1):
        flue.events.append_once(PATH, "key", {"type": "log"})
    with traffic.at_most(1):
        assert len(flue.events.read(PATH).events) == 2
    with traffic.at_most(1):
        flue.events.close(PATH)
    with traffic.at_most(2), pytest.raises(StreamClosedError):
        flue.events.append(PATH, {})


def test_a_unit_appends_with_the_rest_or_not_at_all(flue: Flue) -> None:
    flue.events.create(PATH)
    heard: list[int] = []
    flue.events.subscribe(PATH, lambda: heard.append(len(stored(flue))))
    with pytest.raises(LookupError), flue.begin() as unit:  # noqa: PT012
        unit.events.append(PATH, 1)
        unit.events.append_once(PATH, "key", 2)
        raise LookupError
    assert (stored(flue), heard) == ([], [])
    with flue.begin() as unit:
        assert unit.events.append(PATH, 1) == format_offset(0)
        assert unit.events.append_once(PATH, "key", 2) == format_offset(1)
        assert unit.events.append_once(PATH, "key", 2) == format_offset(1)
        # A refusal leaves the unit usable.
        with pytest.raises(RequestConflictError):
            unit.events.append_once(PATH, "key", 3)
        unit.events.append(PATH, 4)
        assert heard == []
    assert stored(flue) == [1, 2, 4]
    assert heard == [3, 3, 3], "right after the commit, and everything is there"


@pytest.mark.databases("postgres", "mariadb")
def test_a_key_that_is_committed_while_one_waits_is_found(flue: Flue, migrated: Database) -> None:
    flue.events.create(PATH)
    other = Flue(migrated.url)
    with flue.begin() as unit:
        unit.events.append_once(PATH, "key", 1)
        same = in_background(other.events.append_once, PATH, "key", 1)
        until_blocked(migrated, same)
        different = in_background(other.events.append_once, PATH, "key", 2)
    assert same.result(20) == format_offset(0)
    with pytest.raises(RequestConflictError):
        different.result(20)
    other.close()
    assert stored(flue) == [1]


def test_values_that_a_column_cannot_hold(flue: Flue) -> None:
    flue.events.create(PATH)
    odd = {"nul": "\0", "half": "\ud800", "nan": float("nan")}
    flue.events.append(PATH, odd)
    assert stored(flue) == [{"nul": "\0", "half": "\ud800", "nan": None}]
    for bad in ({1: 2}, 2**60, object()):
        with pytest.raises(InvalidInputError):
            flue.events.append(PATH, bad)
    for path in ("a\0b", "\ud800"):
        with pytest.raises(InvalidInputError):
            flue.events.create(path)


@pytest.mark.databases("mariadb")
def test_long_names_are_refused_and_never_cut(flue: Flue) -> None:
    with pytest.raises(ValueTooLargeError):
        flue.events.create("p" * 513)
    flue.events.create("é" * 512)
    with pytest.raises(ValueTooLargeError):
        flue.events.append_once("é" * 512, "k" * 256, 1)
    assert flue.events.append_once("é" * 512, "k" * 255, 1) == format_offset(0)


def test_following_ends_after_the_last_event_of_a_closed_stream(flue: Flue) -> None:
    flue.events.create(PATH)
    flue.events.append(PATH, 0)
    seen: list[Any] = []
    with flue.events.follow(PATH) as events:
        for event in events:
            seen.append(event.data)
            if event.data < 3:
                flue.events.append(PATH, event.data + 1)
            else:
                flue.events.close(PATH)
    assert seen == [0, 1, 2, 3]
    assert [event.data for event in flue.events.follow(PATH, format_offset(1))] == [2, 3]
    assert list(flue.events.follow(PATH, "now")) == []


@pytest.mark.databases("postgres")
def test_a_follower_hears_another_process_before_its_poll_interval(flue: Flue, migrated: Database) -> None:
    other = Flue(migrated.url)
    flue.events.create(PATH)
    with flue.events.follow(PATH) as events:
        first = in_background(next, events)
        flue.listener.listener.ensure()
        assert flue.listener.listener.wait_until_listening(20)
        other.events.append(PATH, "hello")
        assert first.result(20).data == "hello"
    other.close()


async def test_awaited_appends_are_applied_in_the_order_of_the_calls(aflue: AsyncFlue) -> None:
    await aflue.events.create(PATH)
    calls = [aflue.events.append(PATH, n) if n % 3 else aflue.events.append_once(PATH, f"key-{n}", n) for n in range(30)]
    offsets = await asyncio.gather(*calls)
    assert offsets == [format_offset(n) for n in range(30)]
    assert [event.data for event in (await aflue.events.read(PATH)).events] == list(range(30))


async def test_following_awaited(aflue: AsyncFlue) -> None:
    await aflue.events.create(PATH)

    async def write() -> None:
        for number in range(3):
            await aflue.events.append(PATH, number)
        await aflue.events.close(PATH)

    writing = asyncio.create_task(write())
    assert [event.data async for event in aflue.events.follow(PATH)] == [0, 1, 2]
    await writing
