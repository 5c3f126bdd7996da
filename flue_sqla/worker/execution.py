"""One attempt that this worker runs: what it is, whether it is still ours, and why it must end."""

from __future__ import annotations

import asyncio
from typing import Any

from flue_sqla.clock import Clock
from flue_sqla.records.submission import Attempt, Submission
from flue_sqla.wire import stream_path
from flue_sqla.worker.agent import Agent
from flue_sqla.worker.interruptions import Interruption, Lost, Stopping

__all__ = ["Execution"]


class Execution:
    """The fence around an attempt. Every visible effect asks :meth:`check` or :meth:`check_owned` first."""

    def __init__(self, submission: Submission, agent: Agent, clock: Clock) -> None:
        assert submission.attempt_id is not None
        self.submission = submission
        self.attempt = Attempt(submission_id=submission.submission_id, attempt_id=submission.attempt_id)
        self.agent = agent
        self.agent_name: str = submission.input["agent"]
        self.path = stream_path(self.agent_name, submission.input["id"])
        #: Epoch ms by our own clock; a lease that we did not hear of as renewed is over.
        self.lease_until = submission.lease_expires_at
        self.interruption: Interruption | None = None
        self.signalled_at: int | None = None
        #: Set when the handler had its grace time and goes on all the same: it is left to itself.
        self.abandoned = asyncio.Event()
        #: The outcome is on its way: aborts and deadlines come too late.
        self.settling = False
        self.joined = False
        self.handler_task: asyncio.Task[Any] | None = None
        self._clock = clock
        self._closed = False

    @property
    def submission_id(self) -> str:
        return self.submission.submission_id

    def now(self) -> int:
        """The time, epoch ms."""
        return self._clock.now()

    def interrupt(self, reason: Interruption) -> None:
        """Ask the attempt to end. A loss of ownership overrides every other reason; otherwise the first one stays, but a stop."""
        weaker = self.interruption is None or isinstance(self.interruption, Stopping) or isinstance(reason, Lost)
        if self.settling and not isinstance(reason, Lost):
            return
        if not weaker or type(self.interruption) is type(reason):
            return
        self.interruption = reason
        self.signalled_at = self._clock.now()
        if not isinstance(reason, Stopping):
            self.cancel_handler()

    def cancel_handler(self) -> None:
        """End an ``async def`` handler at its next ``await``; a thread ends at its next call of the context."""
        task = self.handler_task
        if task is not None and self.agent.is_async and not task.done():
            task.cancel()

    def check(self) -> None:
        """Raise when the attempt must end: at every boundary, before the next effect."""
        self.check_owned()
        if self.interruption is not None:
            raise type(self.interruption)(*self.interruption.args)

    def check_owned(self) -> None:
        """Raise :class:`Lost` when nothing may be written any more."""
        if not self._closed and self._clock.now() >= self.lease_until:
            self.interrupt(Lost("the lease has lapsed"))
        if self._closed or isinstance(self.interruption, Lost):
            raise Lost("the attempt is over" if self._closed else str(self.interruption))

    def close(self) -> None:
        """The attempt is over: a handler that is still running can do nothing more through its context."""
        self._closed = True
