"""Writers and followers for the tests of waiting."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import sqlalchemy as sa

from flue_sqla import Flue, FlueSettings
from flue_sqla.listening import Following
from flue_sqla.records import ProducerClaim

PATH = "agents/echo/contract"
NEVER_MS = 3_600_000
"""A poll interval that no test lives to see: whoever wakes was woken."""
SOON = 60.0
"""Seconds within which something must have happened; never waited for in full unless it fails."""


def settings(**changes: Any) -> FlueSettings:
    return FlueSettings(**{"migrate": "off", "poll_interval_ms": NEVER_MS, **changes})


class Writer:
    """The producer of one stream."""

    def __init__(self, flue: Flue, path: str = PATH) -> None:
        self.flue = flue
        self.path = path
        flue.conversations.create(path, "echo", "contract")
        self.claim: ProducerClaim = flue.conversations.acquire_producer(path, "writer")
        self.written = 0

    def append(self) -> str:
        offset = self.flue.conversations.append(
            self.path,
            producer_id=self.claim.producer_id,
            producer_epoch=self.claim.producer_epoch,
            incarnation=self.claim.incarnation,
            producer_sequence=self.written,
            records=[{"id": f"record_{self.written}"}],
        )
        self.written += 1
        return offset


class Reader(threading.Thread):
    """Follows on a thread and puts what comes into a queue; at the end None, or the error."""

    def __init__(self, following: Following[Any]) -> None:
        super().__init__(daemon=True)
        self.following = following
        self.seen: queue.Queue[Any] = queue.Queue()
        self.start()

    def run(self) -> None:
        try:
            for batch in self.following:
                self.seen.put(batch.records[0]["id"])
        except BaseException as error:
            self.seen.put(error)
        else:
            self.seen.put(None)

    def next(self) -> Any:
        return self.seen.get(timeout=SOON)


@contextmanager
def reading(flue: Flue, offset: str = "-1", path: str = PATH, **options: Any) -> Iterator[Reader]:
    reader = Reader(flue.conversations.follow(path, offset, **options))
    try:
        yield reader
    finally:
        reader.following.close()
        reader.join(SOON)
        assert not reader.is_alive()


class Looks:
    """Notices each time that ``flue`` reads a stream; a wake-up after a look is never lost, so a test may go on then."""

    def __init__(self, flue: Flue) -> None:
        self._engine = flue.engine
        self._seen = threading.Semaphore(0)

    def _executed(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT") and "flue_conversation_streams" in statement:
            self._seen.release()

    def wait(self, times: int = 1) -> None:
        for _ in range(times):
            assert self._seen.acquire(timeout=SOON)

    def __enter__(self) -> Self:
        sa.event.listen(self._engine, "after_cursor_execute", self._executed)
        return self

    def __exit__(self, *_: object) -> None:
        sa.event.remove(self._engine, "after_cursor_execute", self._executed)


def listening(flue: Flue) -> None:
    """Wait until notifications of other processes arrive at ``flue``."""
    listener = flue.listener.listener
    assert listener is not None
    listener.ensure()
    assert listener.wait_until_listening(SOON)
