"""The run repository, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from sqlalchemy.util import greenlet_spawn

from flue_sqla.awaited import AsyncRepository, awaited, spawned
from flue_sqla.records.submission import TraceCarrier
from flue_sqla.records.unset import UNSET
from flue_sqla.repositories.runs import RunRecorder, Runs

__all__ = ["AsyncRunRecorder", "AsyncRuns"]


class AsyncRunRecorder:
    """:class:`~flue_sqla.repositories.runs.RunRecorder` for ``async with``. Tasks of the block may emit side by side.

    A block that is cancelled is an errored run like any other; what is written then is finished before the cancellation goes on.
    """

    def __init__(self, recorder: RunRecorder) -> None:
        self._log = recorder.log
        self._lock = asyncio.Lock()
        self.result: Any = None

    @property
    def run_id(self) -> str:
        """The run's id; known before the block is entered."""
        return self._log.run_id

    @property
    def path(self) -> str:
        """The path of the run's event stream."""
        return self._log.path

    async def emit(self, event: Mapping[str, Any]) -> str | None:
        """As :meth:`RunRecorder.emit`."""
        async with self._lock:
            return await spawned(self._log.emit, event)

    async def __aenter__(self) -> Self:
        await spawned(self._log.start)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        finishing = asyncio.ensure_future(self._finish(error))
        try:
            await asyncio.shield(finishing)
        except asyncio.CancelledError:
            await asyncio.wait([finishing])
            raise

    async def _finish(self, error: BaseException | None) -> None:
        async with self._lock:
            await greenlet_spawn(self._log.finish, self.result, error)


class AsyncRuns(AsyncRepository[Runs]):
    """:class:`~flue_sqla.repositories.runs.Runs`, awaited; ``record`` stays a plain call, for ``async with``."""

    create = awaited(Runs.create)
    end = awaited(Runs.end)
    get = awaited(Runs.get)
    lookup = awaited(Runs.lookup)
    list = awaited(Runs.list)
    recover = awaited(Runs.recover)

    def record(
        self,
        workflow_name: str,
        *,
        input: Any = UNSET,
        run_id: str | None = None,
        trace_carrier: TraceCarrier | Mapping[str, Any] | None = None,
    ) -> AsyncRunRecorder:
        """As :meth:`Runs.record`: ``async with flue.runs.record("nightly") as run: await run.emit({…}); run.result = …``."""
        return AsyncRunRecorder(self.sync.record(workflow_name, input=input, run_id=run_id, trace_carrier=trace_carrier))
