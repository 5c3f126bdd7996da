"""A server that forks its workers after it made its Flue (gunicorn --preload), with a warm pool and a running listener."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

import pytest

from flue_sqla import Flue
from tests.databases.contract import Database
from tests.listening.support import Looks, Writer, listening, reading, settings

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def in_child(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked child; its exit status, 0 when nothing was raised."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.databases("postgres")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_children_listen_for_themselves_and_leave_the_parents_connections_alone(migrated: Database) -> None:
    with Flue(migrated.url, settings=settings()) as flue, Flue(migrated.url, settings=settings()) as other:
        writer = Writer(other)
        listening(flue)
        with Looks(flue) as looks, reading(flue) as reader:
            looks.wait()

            def child() -> None:
                assert flue.engine.pool.checkedin() == 0, "inherited connections are not used"  # type: ignore[attr-defined]
                listening(flue)
                with Looks(flue) as looks, reading(flue, "now") as reader:
                    looks.wait()
                    Writer(Flue(migrated.url, settings=settings()), "agents/echo/of-the-child")
                    # The grandparent's writer is not ours to use; a fresh one takes the stream over.
                    Writer(Flue(migrated.url, settings=settings())).append()
                    assert reader.next() == "record_0"
                flue.close()

            assert in_child(child) == 0
            assert reader.next() == "record_0"
            writer.claim = other.conversations.acquire_producer(writer.path, "writer")
            writer.append()
            assert reader.next() == "record_0"
        assert flue.conversations.get_meta(writer.path) is not None


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_lock_that_another_thread_held_does_not_stop_the_child(migrated: Database) -> None:
    with Flue(migrated.url, settings=settings(poll_interval_ms=50)) as flue:
        Writer(flue).append()
        flue.engine.dispose()
        with flue.signals._lock, flue.listener._lock:
            assert in_child(lambda: _follow_one(flue)) == 0


def _follow_one(flue: Flue) -> None:
    with reading(flue) as reader:
        assert reader.next() == "record_0"
