"""A process that dies by SIGKILL at its n-th statement, as a crash would have it."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator

import sqlalchemy as sa
from sqlalchemy import event

from flue_sqla import Flue

__all__ = ["killed_at_every_statement"]

_MOST = 200


def killed_at_every_statement(url: str, work: Callable[[Flue], None], *, stride: int = 1) -> Iterator[int]:
    """Run ``work`` in a process of its own, again and again, killed at the first, second, third … point of its way.

    A point is right before a statement is sent, and right before a commit; with a ``stride`` only some of them are tried. Yields the
    number after each death, and ends when the work came to its end. The caller prepares the database before each step, and looks at it
    and finishes the work after each.
    """
    for point in range(1, _MOST, stride):
        pid = os.fork()
        if pid == 0:
            _child(url, work, point)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            yield point
            continue
        assert os.waitstatus_to_exitcode(status) == 0, "the work failed by itself"
        return
    raise AssertionError(f"more than {_MOST} statements")


def _child(url: str, work: Callable[[Flue], None], point: int) -> None:
    code = 1
    try:
        flue = Flue(url)
        _arm(flue.engine, point)
        work(flue)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _arm(engine: sa.Engine, point: int) -> None:
    passed = 0

    def die_here(*_: object) -> None:
        nonlocal passed
        passed += 1
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(engine, "before_cursor_execute", die_here)
    event.listen(engine, "commit", die_here)
