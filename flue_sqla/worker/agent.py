"""What a worker runs: a handler and its budget."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flue_sqla.errors import ConfigurationError, DatabaseUnavailableError, OutcomeUnknown, SerializationConflict, TransientError

__all__ = ["Agent", "Handler"]

Handler = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Agent:
    """A handler: ``async def`` with a :class:`Context`, or a plain function with a :class:`BlockingContext`, run in a thread.

    Args:
        handler: gets the context; what it returns, any JSON, is the result of the submission.
        max_attempts: how often the submission may be started before it fails.
        timeout_ms: the submission fails so long after its first start, whatever it is doing then.
        retry_on: errors after which the handler is run again within the same attempt, recorded steps being replayed.
        max_retries: how many such errors in a row, without a new step between them, it survives.
    """

    handler: Handler
    max_attempts: int = 10
    timeout_ms: int = 3_600_000
    retry_on: tuple[type[Exception], ...] = ()
    max_retries: int = 3

    def __post_init__(self) -> None:
        if not callable(self.handler):
            raise ConfigurationError("An agent's handler is a function of one argument, the context.")
        _refuse_other_arguments(self.handler)
        if self.max_attempts < 1 or self.timeout_ms < 1:
            raise ConfigurationError("max_attempts and timeout_ms are at least 1.")

    @classmethod
    def of(cls, handler: Handler | Agent) -> Agent:
        """An agent as it is, or a plain handler with the default budget."""
        return handler if isinstance(handler, Agent) else cls(handler)

    @property
    def is_async(self) -> bool:
        """Whether the handler runs on the event loop; otherwise it gets a thread."""
        return inspect.iscoroutinefunction(self.handler) or inspect.iscoroutinefunction(getattr(self.handler, "__call__", None))  # noqa: B004

    def retries(self, error: Exception) -> bool:
        """Whether the error is one that may pass."""
        return isinstance(error, (TransientError, DatabaseUnavailableError, SerializationConflict, OutcomeUnknown, *self.retry_on))


def _refuse_other_arguments(handler: Handler) -> None:
    """Now rather than at the first submission, which would fail of it."""
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):  # some callables do not say
        return
    try:
        signature.bind(None)
    except TypeError as error:
        name = getattr(handler, "__qualname__", type(handler).__qualname__)
        raise ConfigurationError(
            f"The handler {name} cannot be called with the context alone: {error}.",
            remedy="Write it as a function of one argument; bind others with functools.partial.",
        ) from None
