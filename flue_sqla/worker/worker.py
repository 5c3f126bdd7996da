"""The worker: claims what may run, runs it, and stops without losing anything (spec/lifecycle.md §2, §5)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
from collections.abc import Iterator, Mapping
from typing import Self

from flue_sqla.asyncio import AsyncFlue
from flue_sqla.errors import ConfigurationError, FlueError
from flue_sqla.flue import Flue
from flue_sqla.listening import AsyncWaiter
from flue_sqla.records.submission import Submission
from flue_sqla.signals import QUEUE_TOPIC
from flue_sqla.wire import new_id
from flue_sqla.worker.agent import Agent, Handler
from flue_sqla.worker.bridge import bridge_to
from flue_sqla.worker.execution import Execution
from flue_sqla.worker.holding import Holder
from flue_sqla.worker.interruptions import Lost, Stopping
from flue_sqla.worker.processing import Processing
from flue_sqla.worker.recovery import RecoveryPass
from flue_sqla.worker.settlement import Settlements
from flue_sqla.worker.telemetry import Telemetry, log
from flue_sqla.worker.timing import Timing
from flue_sqla.worker.unready import UnreadyPass
from flue_sqla.worker.views import Views

__all__ = ["Worker"]


class Worker:
    """Runs the submissions of some agents, as many at once as ``concurrency`` says.

    Any number of workers, in any number of processes and hosts, share one database; each session runs one submission at a time, in order.
    A worker lives on the event loop of whoever awaits :meth:`run`, and never blocks it: plain functions get a thread.

    Args:
        flue: an ``AsyncFlue`` of this event loop, or a ``Flue``, which is then called on threads. It is used, never closed.
        agents: handlers by agent name, plain or as :class:`Agent` with a budget. Other agents' submissions are left alone.
        concurrency: how many submissions run at once.
        timing: leases and intervals.

    Raises:
        ConfigurationError: no Flue, no agents, a handler that cannot be called with the context alone, or a number below 1.
    """

    def __init__(
        self,
        flue: Flue | AsyncFlue,
        agents: Mapping[str, Handler | Agent],
        *,
        concurrency: int = 16,
        timing: Timing | None = None,
    ) -> None:
        if not isinstance(flue, Flue | AsyncFlue):
            raise ConfigurationError(
                f"A worker needs a Flue or an AsyncFlue, found {type(flue).__name__}.", remedy="Worker(Flue(url), agents={…})."
            )
        if not agents or not isinstance(agents, Mapping):
            raise ConfigurationError("A worker needs at least one agent.", remedy='Worker(flue, agents={"name": handler}).')
        if concurrency < 1:
            raise ConfigurationError("concurrency is at least 1.", meta={"concurrency": concurrency})
        self.flue = flue
        self.agents = {name: Agent.of(handler) for name, handler in agents.items()}
        self.concurrency = concurrency
        self.timing = timing or Timing()
        #: One per worker; the owner of its leases and the producer of its streams.
        self.owner_id = new_id("owner")
        self.telemetry = Telemetry()
        self._executions: dict[str, Execution] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._waiter: AsyncWaiter | None = None
        self._background: asyncio.Task[None] | None = None

    @property
    def active(self) -> int:
        """How many submissions run here now."""
        return len(self._executions)

    def stop(self) -> None:
        """Claim nothing more and let :meth:`run` return; callable from any thread and from signal handlers, more than once.

        Running handlers go on to their next boundary, where their submissions return to the queue as if they had never been claimed.
        """
        self._stopping = True
        waiter = self._waiter
        if waiter is not None:
            waiter.wake()

    async def run(self, *, handle_signals: bool = False) -> None:
        """Work until :meth:`stop`, or until the Flue is closed or this call is cancelled; both of these stop gracefully too.

        Args:
            handle_signals: stop on SIGTERM and SIGINT; for a process that is nothing but a worker.
        """
        if self._waiter is not None:
            raise ConfigurationError("This worker is running already.")
        self._stopping = False
        bridge = bridge_to(self.flue)
        views = Views(bridge)
        settlements = Settlements(bridge, views, self.telemetry, self.owner_id)
        self._bridge = bridge
        self._processing = Processing(self.flue, bridge, views, settlements, self.telemetry, self.timing, self.owner_id)
        self._unready = UnreadyPass(bridge, self.agents, self.telemetry, self.timing)
        self._recovery = RecoveryPass(
            bridge,
            views,
            settlements,
            self.agents,
            self.telemetry,
            self.timing,
            self.owner_id,
            is_active=self._executions.__contains__,
            free_slots=self._free_slots,
            start=self._start,
        )
        holder = Holder(bridge, self.telemetry, self.timing, self.owner_id, self._executions.values)
        holding = asyncio.create_task(holder.run(), name="flue-worker-holder")
        try:
            with self._signals() if handle_signals else contextlib.nullcontext():
                async with bridge.waiter(QUEUE_TOPIC) as self._waiter:
                    self.telemetry.event("started", owner_id=self.owner_id, pid=os.getpid(), agents=",".join(self.agents))
                    await self._loop(self._waiter)
                    # Not before the end of the loop: stopping has to find what the last claim began.
                    await asyncio.shield(self._drain())
        except asyncio.CancelledError:
            self._stopping = True
            await self._drain()
            raise
        finally:
            self._waiter = None
            holding.cancel()
            await asyncio.wait([holding])
            bridge.close()
            self.telemetry.event("stopped", owner_id=self.owner_id)

    async def __aenter__(self) -> Self:
        """Run in the background of this event loop for the length of the block."""
        self._background = asyncio.create_task(self.run(), name="flue-worker")
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        if self._background is not None:
            await self._background

    def __repr__(self) -> str:
        return f"<Worker {self.owner_id} of {', '.join(self.agents)}, {self.active} of {self.concurrency} running>"

    # -- the loop ---------------------------------------------------------------------------------------------------------------

    async def _loop(self, waiter: AsyncWaiter) -> None:
        loop = asyncio.get_running_loop()
        next_look = next_scan = 0.0
        soon: float | None = None
        while not self._stopping and not waiter.ended:
            try:
                # First what somebody waits for; the rest at the latest when it is due, however much there is to claim.
                claimed = await self._claim()
                if not claimed or loop.time() >= next_look:
                    soon = await self._unready.run()
                    next_look = loop.time() + (self.timing.unready_ms / 1000 if soon is None else soon)
                if loop.time() >= next_scan:
                    # Spread: workers that were started together need not all look at once.
                    next_scan = loop.time() + self.timing.scan_ms / 1000 * random.uniform(0.75, 1.25)
                    await self._recovery.run()
                    self.telemetry.counts["scanned"] += 1
                if not claimed:
                    await waiter.wait(_earliest(soon, next_scan - loop.time()))
            except Exception as error:
                what = f"{error} {error.remedy}".rstrip() if isinstance(error, FlueError) else error
                log.warning("Claiming failed and goes on after a pause: %s", what, exc_info=log.isEnabledFor(logging.DEBUG))
                self.telemetry.counts["pass_failed"] += 1
                await waiter.wait(self.timing.error_pause_ms / 1000)

    async def _claim(self) -> bool:
        """Claim for every free slot; whether anything was claimed."""
        free = self._free_slots()
        if free < 1 or self._stopping:
            return False
        claimed = await self._bridge.call(
            self._bridge.flue.submissions.claim_next,
            owner_id=self.owner_id,
            agents=list(self.agents),
            limit=free,
            lease_expires_at=self._bridge.flue.clock.now() + self.timing.lease_ms,
        )
        for submission in claimed:
            self.telemetry.event(
                "claimed",
                submission_id=submission.submission_id,
                agent=submission.input["agent"],
                attempt=submission.attempt_count,
            )
            self._start(submission)
        return bool(claimed)

    def _free_slots(self) -> int:
        return self.concurrency - len(self._tasks)

    def _start(self, submission: Submission) -> None:
        execution = Execution(submission, self.agents[submission.input["agent"]], self._bridge.flue.clock)
        earlier = self._executions.get(submission.submission_id)
        if earlier is not None:
            # Somebody gave it back to the queue under our hands, and we were the ones to claim it again.
            earlier.interrupt(Lost("the submission was claimed anew"))
        self._executions[submission.submission_id] = execution
        if self._stopping:
            execution.interrupt(Stopping("the worker stops"))
        task = asyncio.create_task(self._processing.run(execution), name=f"flue-attempt-{submission.submission_id}")
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._ended(execution, task))

    def _ended(self, execution: Execution, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._executions.get(execution.submission_id) is execution:
            del self._executions[execution.submission_id]
        if self._waiter is not None:
            # A slot is free, and the next one of this session may run.
            self._waiter.wake()

    # -- the end ----------------------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        """Let what runs reach a boundary; then end what can be ended. What is left keeps its lease until that runs out."""
        for execution in list(self._executions.values()):
            execution.interrupt(Stopping("the worker stops"))
        if not await self._ended_within(self.timing.shutdown_ms / 1000):
            for execution in list(self._executions.values()):
                execution.cancel_handler()
            await self._ended_within(1.0)
        for task in list(self._tasks):
            task.cancel()
        await self._ended_within(1.0)

    async def _ended_within(self, seconds: float) -> bool:
        tasks = list(self._tasks)
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=seconds)
            return not left
        return True

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        installed = (signal.SIGTERM, signal.SIGINT)
        for number in installed:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in installed:
                loop.remove_signal_handler(number)


def _earliest(soon: float | None, scan: float) -> float:
    return max(0.0, scan if soon is None else min(soon, scan))
