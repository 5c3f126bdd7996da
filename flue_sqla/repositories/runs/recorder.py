"""The context manager for the common case: a block of code as one recorded run."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from flue_sqla.records.submission import TraceCarrier
from flue_sqla.repositories.runs.log import RunLog
from flue_sqla.repositories.scope import Scope

if TYPE_CHECKING:
    from flue_sqla.repositories.runs.store import Runs

__all__ = ["RunRecorder"]


class RunRecorder:
    """One run, from ``__enter__`` to ``__exit__``. Threads of the block may emit side by side.

    ``result`` is what the run came to, any JSON; an exception that leaves the block makes the run ``errored`` with its class name and
    message, and goes on. An event that cannot be stored is logged, and the block goes on (spec/runs.md §4); a record that cannot be
    created or ended is an error of the block.
    """

    def __init__(
        self,
        scope: Scope,
        runs: Runs,
        workflow_name: str,
        *,
        input: Any,
        run_id: str | None,
        trace_carrier: TraceCarrier | Mapping[str, Any] | None,
    ) -> None:
        self.log = RunLog(scope, runs, workflow_name, input=input, run_id=run_id, trace_carrier=trace_carrier)
        self.result: Any = None
        self._lock = threading.Lock()

    @property
    def run_id(self) -> str:
        """The run's id; known before the block is entered."""
        return self.log.run_id

    @property
    def path(self) -> str:
        """The path of the run's event stream."""
        return self.log.path

    def emit(self, event: Mapping[str, Any]) -> str | None:
        """Append one event; run id, version, index and time are added.

        Text and thinking deltas are kept back, for 3 s at most while events come, and merged. ``turn_request`` is never stored.

        Returns:
            The offset, or None when the event was kept back, never to be stored, or could not be stored.

        Raises:
            InvalidInputError: no type, or no JSON.
        """
        with self._lock:
            return self.log.emit(event)

    def __enter__(self) -> Self:
        self.log.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self.log.finish(self.result, error)
