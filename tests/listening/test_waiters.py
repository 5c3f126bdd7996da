"""The waiters behind ``follow``, the worker and ``wait``: any of several topics, a bounded time, the end of the Flue."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from flue_sqla import Flue
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.errors import ConfigurationError
from tests.databases.contract import Database
from tests.listening.support import NEVER_MS, SOON, settings


@pytest.fixture
def idle() -> Flue:
    return Flue("sqlite://", settings=settings())


def test_a_wake_up_before_the_wait_is_not_lost(idle: Flue) -> None:
    with idle.listener.waiter("one", "two") as waiter:
        idle.signals.publish("two")
        assert waiter.wait() is True
        assert waiter.wait(0) is False, "and it counts once"
        idle.signals.publish("three")
        assert waiter.wait(0) is False


def test_a_wait_is_bounded_by_the_poll_interval_and_by_the_caller() -> None:
    flue = Flue("sqlite://", settings=settings(poll_interval_ms=1))
    with flue.listener.waiter("one") as waiter:
        assert waiter.wait() is False
        assert waiter.wait(SOON) is False
    patient = Flue("sqlite://", settings=settings(poll_interval_ms=NEVER_MS))
    with patient.listener.waiter("one") as waiter:
        assert waiter.wait(0.001) is False
        assert waiter.wait(-1) is False


def test_closing_the_flue_wakes_and_tells(idle: Flue) -> None:
    with idle.listener.waiter("one") as waiter:
        threading.Timer(0.01, idle.close).start()
        assert waiter.wait() is True
        assert waiter.ended


def test_after_the_end_nothing_is_heard(idle: Flue) -> None:
    with idle.listener.waiter("one") as waiter:
        pass
    idle.signals.publish("one")
    assert waiter.wait(0) is False
    assert not waiter.ended


def test_a_listener_that_raises_is_logged_and_stops_nobody(idle: Flue, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("a listener's own problem")

    idle.signals.subscribe("one", fail)
    with idle.listener.waiter("one") as waiter, caplog.at_level(logging.ERROR):
        idle.signals.publish("one")
        assert waiter.wait() is True
    assert "A listener raised." in caplog.text


async def test_tasks_are_woken_from_any_thread() -> None:
    async with AsyncFlue("sqlite+aiosqlite://", settings=settings()) as flue, flue.listener.waiter("one") as waiter:
        await asyncio.to_thread(flue.sync.signals.publish, "one")
        assert await waiter.wait() is True
        assert await waiter.wait(0) is False
        cancelled = asyncio.create_task(waiter.wait())
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        flue.sync.signals.publish("one")
        assert await waiter.wait() is True


async def test_waking_a_loop_that_is_gone_is_nothing() -> None:
    flue = AsyncFlue("sqlite+aiosqlite://", settings=settings())

    async def leave() -> None:
        flue.listener.waiter("one")

    await asyncio.to_thread(asyncio.run, leave())
    flue.sync.signals.publish("one")
    await flue.close()


@pytest.mark.databases("postgres")
def test_a_listen_url_that_cannot_be_used_is_said_once(
    migrated: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise ConfigurationError("The driver 'psycopg' is not installed.", remedy="Install it.")

    monkeypatch.setattr("flue_sqla.listening.thread.listen_engine", refuse)
    with Flue(migrated.url, settings=settings()) as flue:
        listener = flue.listener.listener
        assert listener is not None
        listener.ensure()
        ear = listener._ear
        if ear is not None:
            ear.join(SOON)
        with flue.listener.waiter("one"):
            assert not listener.listening
    assert len([record for record in caplog.records if "FLUE_LISTEN_URL cannot be used" in record.message]) == 1
