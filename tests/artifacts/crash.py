"""Running an action in a process that is killed at a chosen step.

Steps are calls to a folder and to the rows, transactions, and requests to S3: those are seen on the wire, since an engine need not send
them from Python. The process is forked from a server that has no threads: forking the test process itself would now and then inherit a
lock that a thread of it (OpenSSL's, for one) was holding.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Any
from urllib.parse import urlsplit

from flue_sqla import Flue
from flue_sqla.artifacts import StoreOptions
from flue_sqla.artifacts.local import LocalStore, LocalUpload
from flue_sqla.repositories import attachments
from flue_sqla.repositories.artifacts import ArtifactRows
from flue_sqla.transactions import EngineScope
from tests.artifacts.proxy import FaultProxy
from tests.forkserver import forkserver

__all__ = ["MOST_STEPS", "flue_on", "killed_at"]

MOST_STEPS = 60
_SECONDS = 90


def flue_on(url: str, options: StoreOptions) -> Flue:
    """A new Flue, as a new process would have."""
    flue = Flue(url)
    flue._stores._options = options
    return flue


def killed_at(step: int, action: Callable[..., None], *arguments: Any) -> bool:
    """Run ``action`` in a process that is killed at its ``step``-th step; True when it came through.

    Every step is two: before anything of it has happened, and when all of it has but nobody was told. When this returns, nothing of the
    process is on its way to the store any more: what comes after a sweep is the next one's.
    """
    context = forkserver()
    passed = context.Value("i", 0)
    with _watched(arguments) as (proxy, arguments):
        process = context.Process(target=_run, args=(passed, step, action, arguments))

        def reach(*_: str) -> str | None:
            if _is_due(passed, step):
                process.kill()
                wait([process.sentinel])  # it must not see another byte
            return "drop" if passed.value >= step else None

        if proxy is not None:
            proxy.fault = proxy.answered = reach
        process.start()
        process.join(_SECONDS)
        if proxy is not None and not process.is_alive():
            proxy.drain()
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError("the process neither ended nor reached its step")
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return process.exitcode == 0


@contextmanager
def _watched(arguments: tuple[Any, ...]) -> Iterator[tuple[FaultProxy | None, tuple[Any, ...]]]:
    """The arguments with every S3 behind a proxy, and the proxy."""
    stores = [one for one in arguments if isinstance(one, StoreOptions) and one.endpoint is not None]
    if not stores:
        yield None, arguments
        return
    address = urlsplit(stores[0].endpoint)
    proxy = FaultProxy((str(address.hostname), int(address.port or 0)))
    try:
        yield proxy, tuple(replace(one, endpoint=proxy.endpoint) if one in stores else one for one in arguments)
    finally:
        proxy.close()


def _is_due(passed: Any, step: int) -> bool:
    with passed.get_lock():
        passed.value += 1
        return bool(passed.value == step)


def _run(passed: Any, step: int, action: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    def reach() -> None:
        if _is_due(passed, step):
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("send", "complete", "_publish"):
        _around(LocalUpload, name, reach)
    _around(LocalStore, "delete", reach)
    for name in ("insert", "mark_deleting", "remove", "relabel"):
        _around(ArtifactRows, name, reach)
    for name in ("insert_artifact", "link_artifact", "replace_artifact"):
        _around(attachments, name, reach)
    _around(EngineScope, "write", reach)
    action(*arguments)


def _around(owner: object, name: str, reach: Callable[[], None]) -> None:
    method = getattr(owner, name)

    def watched(*args: Any, **kwargs: Any) -> Any:
        reach()
        result = method(*args, **kwargs)
        reach()
        return result

    setattr(owner, name, watched)
