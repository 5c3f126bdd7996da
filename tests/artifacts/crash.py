"""Running an action in a process that is killed at a chosen step.

The process is forked from a server that has no threads: forking the test process itself would now and then inherit a lock that a thread of
it (OpenSSL's, for one) was holding.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

from flue_sqla import Flue
from flue_sqla.artifacts import StoreOptions
from flue_sqla.artifacts.local import LocalStore, LocalUpload
from flue_sqla.artifacts.s3 import S3Store
from flue_sqla.repositories.artifacts import ArtifactRows

__all__ = ["MOST_STEPS", "flue_on", "killed_at"]

MOST_STEPS = 60
_SECONDS = 90


def flue_on(url: str, options: StoreOptions) -> Flue:
    """A new Flue, as a new process would have."""
    flue = Flue(url)
    flue._stores._options = options
    return flue


def killed_at(step: int, action: Callable[..., None], *arguments: Any) -> bool:
    """Run ``action`` in a process that is killed at its ``step``-th call to the store or the rows; True when it came through."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["s3fs", "tests.artifacts.crash"])
    process = context.Process(target=_run, args=(step, action, arguments))
    process.start()
    process.join(_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError("the process neither ended nor reached its step")
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return process.exitcode == 0


def _run(step: int, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    passed = [0]

    def reach() -> None:
        passed[0] += 1
        if passed[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("send", "complete", "_publish"):
        _around(LocalUpload, name, reach)
    _around(LocalStore, "delete", reach)
    _around_awaited(S3Store, "_request", reach)
    for name in ("insert", "mark_deleting", "remove", "relabel"):
        _around(ArtifactRows, name, reach)
    action(*arguments)


def _around(owner: type, name: str, reach: Callable[[], None]) -> None:
    method = getattr(owner, name)

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        reach()
        result = method(self, *args, **kwargs)
        reach()
        return result

    setattr(owner, name, watched)


def _around_awaited(owner: type, name: str, reach: Callable[[], None]) -> None:
    method = getattr(owner, name)

    async def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        reach()
        result = await method(self, *args, **kwargs)
        reach()
        return result

    setattr(owner, name, watched)
