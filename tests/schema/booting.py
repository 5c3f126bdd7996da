"""Processes that boot a database, in step with each other and stopped where a test wants them."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import sqlalchemy as sa

from tests.forkserver import forkserver

_processes = forkserver()

TIMEOUT_S = 90


@dataclass
class Booting:
    """One process that will call ``boot()`` once told to."""

    process: Any
    pipe: Connection

    def go(self) -> None:
        self.pipe.send("go")

    def expect(self, word: str) -> Any:
        """The rest of the next message, which must begin with ``word``."""
        assert self.pipe.poll(TIMEOUT_S), f"the process did not say {word} in {TIMEOUT_S} s"
        message = self.pipe.recv()
        assert message[0] == word, message
        return message[1:]

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def start(url: str, *, schema: str | None = None, stop_before: int | None = None) -> Booting:
    """Start a process, ready to boot. With ``stop_before`` it stops for good before its n-th statement inside the lock."""
    ours, theirs = _processes.Pipe()
    process = _processes.Process(target=_boot, args=(url, schema, stop_before, theirs), daemon=True)
    process.start()
    theirs.close()
    booting = Booting(process, ours)
    booting.expect("ready")
    return booting


def _boot(url: str, schema: str | None, stop_before: int | None, pipe: Connection) -> None:
    from flue_sqla.dialects.engines import create_engine
    from flue_sqla.schema.boot import boot

    engine = create_engine(url)
    changes = 0

    def count(*arguments: Any) -> None:
        nonlocal changes
        if not arguments[2].lstrip().startswith(("CREATE", "INSERT", "UPDATE", "DELETE")):
            return
        changes += 1
        if changes == stop_before:
            pipe.send(("stopped", arguments[2].split("(")[0].strip()))
            signal.pause()

    sa.event.listen(engine, "before_cursor_execute", count)
    pipe.send(("ready",))
    pipe.recv()
    try:
        verdict = boot(engine, schema=schema)
        pipe.send(("done", verdict.kind.value, verdict.previous.value if verdict.previous else None, changes))
    except BaseException as error:
        pipe.send(("failed", repr(error)))
