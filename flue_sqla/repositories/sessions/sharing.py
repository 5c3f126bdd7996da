"""One deletion per session and process: whoever asks again meanwhile waits for the first one (spec/submissions.md §16)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from flue_sqla.errors import InvalidInputError
from flue_sqla.forking import reset_in_child

__all__ = ["SharedCalls"]


@dataclass
class _Call:
    """One that is under way."""

    thread: int
    outcome: Future[None] = field(default_factory=Future)


class SharedCalls:
    """Calls by key. The first caller does the work; the others get its outcome, its error included."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, _Call] = {}
        reset_in_child(self)

    def forget_parent(self) -> None:
        """In a forked child: what the parent's threads were doing does not go on here."""
        self._lock = threading.Lock()
        self._calls = {}

    def run(self, key: str, work: Callable[[], None]) -> None:
        """Do ``work``, or wait for the call under ``key`` that does it already.

        Raises:
            InvalidInputError: called from within that very work, which would wait for itself.
        """
        with self._lock:
            call = self._calls.get(key)
            first = call is None
            if call is None:
                call = self._calls[key] = _Call(threading.get_ident())
        if not first:
            if call.thread == threading.get_ident():
                raise InvalidInputError("The callback of a deletion asks for that very deletion.", meta={"sessionKey": key})
            call.outcome.result()
            return
        try:
            work()
        except BaseException as error:
            call.outcome.set_exception(error)
            raise
        else:
            call.outcome.set_result(None)
        finally:
            with self._lock:
                self._calls.pop(key, None)
