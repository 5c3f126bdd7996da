"""What a plain function gets as its context: the same names as :class:`Context`, blocking, for the handler's own thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

from flue_sqla.records.artifact import Artifact, ArtifactPage
from flue_sqla.records.submission import Attempt, Submission
from flue_sqla.worker.artifacts import BoundArtifacts
from flue_sqla.worker.context import Context
from flue_sqla.worker.joins import Delivery
from flue_sqla.worker.steps import Steps

__all__ = ["BlockingArtifacts", "BlockingContext"]

P = ParamSpec("P")
T = TypeVar("T")


class _OnLoop:
    """Runs coroutines on the worker's event loop and waits for them on the handler's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


class BlockingArtifacts:
    """:class:`BoundArtifacts`, blocking."""

    def __init__(self, artifacts: BoundArtifacts, run: _OnLoop) -> None:
        self._artifacts = artifacts
        self._run = run

    def put(self, source: Any, *, name: str, **options: Any) -> Artifact:
        """As ``flue.artifacts.put``, with ``submission_id``; a boundary."""
        return self._run(self._artifacts.put(source, name=name, **options))

    def get(self, artifact_id: str, **options: Any) -> Artifact | None:
        """As ``flue.artifacts.get``."""
        return self._run(self._artifacts.get(artifact_id, **options))

    def read_range(self, artifact_id: str, start: int, end: int | None = None, **options: Any) -> bytes:
        """As ``flue.artifacts.read_range``."""
        return self._run(self._artifacts.read_range(artifact_id, start, end, **options))

    def list(self, **options: Any) -> ArtifactPage:
        """The artifacts that this submission has put."""
        return self._run(self._artifacts.list(**options))

    def delete(self, artifact_id: str, **options: Any) -> bool:
        """As ``flue.artifacts.delete``; a boundary."""
        return self._run(self._artifacts.delete(artifact_id, **options))


class BlockingContext:
    """:class:`Context` for a handler that is a plain function. Use it on the handler's thread, or on threads that it starts."""

    def __init__(self, context: Context, steps: Steps, loop: asyncio.AbstractEventLoop) -> None:
        self._context = context
        self._steps = steps
        self._run = _OnLoop(loop)
        self.artifacts = BlockingArtifacts(context.artifacts, self._run)

    @property
    def submission(self) -> Submission:
        """As :attr:`Context.submission`."""
        return self._context.submission

    @property
    def attempt(self) -> Attempt:
        """As :attr:`Context.attempt`."""
        return self._context.attempt

    @property
    def message(self) -> dict[str, Any]:
        """As :attr:`Context.message`."""
        return self._context.message

    @property
    def initial_data(self) -> Any:
        """As :attr:`Context.initial_data`."""
        return self._context.initial_data

    @property
    def agent(self) -> str:
        """As :attr:`Context.agent`."""
        return self._context.agent

    @property
    def id(self) -> str:
        """As :attr:`Context.id`."""
        return self._context.id

    @property
    def path(self) -> str:
        """As :attr:`Context.path`."""
        return self._context.path

    def step(self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As :meth:`Context.step`; ``function`` runs on this thread."""
        recorded = self._run(self._steps.begin(name))
        if recorded is not None:
            replayed: T = recorded.value
            return replayed
        value: T = self._run(self._steps.record(name, function(*args, **kwargs)))
        return value

    def append(self, record: Mapping[str, Any]) -> str:
        """As :meth:`Context.append`."""
        return self._run(self._context.append(record))

    def joins(self) -> list[Delivery]:
        """As :meth:`Context.joins`."""
        return self._run(self._context.joins())

    def deliveries(self) -> Iterator[Delivery]:
        """As :meth:`Context.deliveries`."""
        while arrived := self.joins():
            yield from arrived

    def check(self) -> None:
        """As :meth:`Context.check`."""
        self._run(self._context.check())

    def __repr__(self) -> str:
        return repr(self._context)
