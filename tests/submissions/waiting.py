"""Two transactions that meet: run a call on a thread and know when the server has made it wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from tests.databases.contract import Database

T = TypeVar("T")

_WAITING = {
    "postgres": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    "mariadb": "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
    "mysql": "SELECT count(*) FROM performance_schema.data_lock_waits",
}
_DEADLINE = 20.0


def in_background(call: Callable[..., T], *arguments: Any, **named: Any) -> Future[T]:
    """Start ``call`` on a thread of its own."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call(*arguments, **named))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def until_blocked(database: Database, future: Future[Any]) -> None:
    """Return once the server says that somebody waits for a lock; fails if the call ended instead."""
    deadline = time.monotonic() + _DEADLINE
    while time.monotonic() < deadline:
        if database.admin_execute(_WAITING[database.name])[0][0]:
            return
        if future.done():
            raise AssertionError(f"the call did not wait: {future}")
        # The server has no event for this, and InnoDB refreshes its view only when nobody has read it for 100 ms.
        time.sleep(0.01 if database.name == "postgres" else 0.12)
    raise AssertionError("nobody waits for a lock")
