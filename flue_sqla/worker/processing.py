"""One attempt from its claim to its outcome (spec/lifecycle.md §7)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import Any

from flue_sqla.asyncio import AsyncFlue
from flue_sqla.conversation import ConversationState, builders
from flue_sqla.errors import OutcomeUnknown, SubmissionAbortedError, SubmissionTimeoutError
from flue_sqla.flue import Flue
from flue_sqla.wire import canonical_json
from flue_sqla.worker.artifacts import BoundArtifacts
from flue_sqla.worker.blocking import BlockingContext
from flue_sqla.worker.bridge import Bridge, in_thread
from flue_sqla.worker.context import Context
from flue_sqla.worker.execution import Execution
from flue_sqla.worker.interruptions import Aborted, Interruption, Lost, Stopping, TimedOut
from flue_sqla.worker.joins import Joins
from flue_sqla.worker.opening import open_attempt
from flue_sqla.worker.ownership import Ownership
from flue_sqla.worker.settlement import OutcomeName, Settlements, aborted
from flue_sqla.worker.steps import Steps
from flue_sqla.worker.telemetry import Telemetry
from flue_sqla.worker.timing import Timing
from flue_sqla.worker.views import Views
from flue_sqla.worker.writer import Writer, root_of

__all__ = ["Processing"]

_LONGEST_RETRY_MS = 60_000


class Processing:
    """Runs attempts; what one attempt is, is in its :class:`Execution`."""

    def __init__(
        self,
        flue: Flue | AsyncFlue,
        bridge: Bridge,
        views: Views,
        settlements: Settlements,
        telemetry: Telemetry,
        timing: Timing,
        owner_id: str,
    ) -> None:
        self._flue = flue
        self._bridge = bridge
        self._views = views
        self._settlements = settlements
        self._telemetry = telemetry
        self._timing = timing
        self._owner_id = owner_id

    async def run(self, execution: Execution) -> None:
        """Run the attempt to its end. Every failure is the submission's or is logged; nothing is raised but a cancellation."""
        submission = execution.submission
        carrier = submission.input.get("traceCarrier")
        fields = {"submission_id": execution.submission_id, "attempt_id": execution.attempt.attempt_id, "agent": execution.agent_name}
        writer: list[Writer] = []
        with self._telemetry.span("flue.attempt", carrier, **fields):
            try:
                await self._run(execution, writer)
            except Lost as lost:
                self._telemetry.event("fenced", logging.WARNING, reason=str(lost), **fields)
            except Stopping:
                await self._release(execution)
            except Exception as error:
                # The row stays running and is recovered when its lease has lapsed (spec/lifecycle.md §7).
                self._telemetry.event("attempt_broken", logging.ERROR, exc_info=error, **fields)
            finally:
                execution.close()

    async def _run(self, execution: Execution, opened: list[Writer]) -> None:
        outcome: OutcomeName = "completed"
        error: BaseException | None = None
        try:
            await self._work(execution, opened)
        except Aborted:
            outcome, error = "aborted", aborted()
        except TimedOut:
            outcome, error = "failed", SubmissionTimeoutError("Submission exceeded the configured timeout.")
        except (Lost, Stopping):
            raise
        except Exception as failure:
            outcome, error = "failed", failure
            self._telemetry.event(
                "handler_failed", logging.WARNING, exc_info=failure, submission_id=execution.submission_id, agent=execution.agent_name
            )
        execution.settling = True
        # An attempt that ended before it looked may have children of an earlier one.
        children = execution.joined or not opened
        if isinstance(error, (SubmissionTimeoutError, SubmissionAbortedError)):
            await self._advise(execution, outcome)
            opened.clear()
        await self._settlements.settle(
            execution.submission,
            execution.attempt,
            outcome,
            error,
            execution=execution,
            writer=opened[0] if opened else None,
            children=children,
        )

    async def _advise(self, execution: Execution, outcome: OutcomeName) -> None:
        execution.check_owned()
        # The attempt's own writer may be in the middle of a handler's append; the advisory takes the stream over.
        self._views.forget(execution.path)
        await self._settlements.advise(execution.submission, execution.attempt, "aborted" if outcome == "aborted" else "interrupted")

    async def _work(self, execution: Execution, opened: list[Writer]) -> None:
        submission = execution.submission
        if submission.abort_requested_at is not None:
            raise Aborted("the session was aborted before the attempt began")
        if submission.timeout_at and execution.now() >= submission.timeout_at:
            raise TimedOut("the deadline passed before the attempt began")
        writer, found = await open_attempt(self._bridge, self._views, execution, self._owner_id)
        opened.append(writer)
        joins = Joins(self._bridge, execution, writer, self._telemetry)
        if found != "absent":
            await joins.repair()
        if found == "completed":
            self._telemetry.event("completed_before", submission_id=execution.submission_id, agent=execution.agent_name)
            return
        result = await self._run_handler(execution, writer, joins)
        answer = canonical_json(result)
        await writer.append(lambda state: self._answer(state, execution, writer, answer))

    def _answer(self, state: ConversationState, execution: Execution, writer: Writer, text: str) -> list[dict[str, Any]]:
        return builders.assistant_message(
            writer.envelope(),
            execution.now(),
            parent_id=root_of(state).leaf,
            text=text,
            model_info={"api": "flue-sqla", "provider": "python", "model": execution.agent_name},
        )

    async def _run_handler(self, execution: Execution, writer: Writer, joins: Joins) -> Any:
        """Run the handler until it returns, again after each error that may pass."""
        failures = 0
        while True:
            ownership = Ownership(self._bridge, execution, self._owner_id)
            steps = Steps(execution, ownership, writer, self._telemetry)
            context = Context(execution, ownership, writer, steps, joins, BoundArtifacts(self._flue, execution, ownership))
            try:
                execution.check()
                return await self._call(execution, context, steps)
            except Exception as error:
                failures = 1 if steps.recorded_here else failures + 1
                if not execution.agent.retries(error) or failures > execution.agent.max_retries:
                    raise
                self._telemetry.event(
                    "retried",
                    logging.WARNING,
                    submission_id=execution.submission_id,
                    agent=execution.agent_name,
                    error=type(error).__name__,
                )
            finally:
                ownership.close()
            if execution.joined:
                await joins.repair()
            await self._pause(execution, failures)

    async def _call(self, execution: Execution, context: Context, steps: Steps) -> Any:
        agent = execution.agent
        if agent.is_async:
            running = asyncio.ensure_future(agent.handler(context))
        else:
            blocking = BlockingContext(context, steps, asyncio.get_running_loop())
            running = asyncio.ensure_future(in_thread(agent.handler, blocking))
        execution.handler_task = running
        abandoned = asyncio.ensure_future(execution.abandoned.wait())
        try:
            await asyncio.wait([running, abandoned], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            running.cancel()
            raise
        finally:
            abandoned.cancel()
            execution.handler_task = None
        if not running.done():
            running.add_done_callback(_take_notice)
            execution.check()
            raise Lost("the handler was abandoned")
        if running.cancelled():
            execution.check()
            raise RuntimeError("The handler cancelled itself.")
        return running.result()

    async def _pause(self, execution: Execution, failures: int) -> None:
        """Wait before the next try, looking up at every second whether there is to be one."""
        milliseconds = min(_LONGEST_RETRY_MS, self._timing.retry_ms * 2.0 ** (failures - 1)) * random.uniform(0.75, 1.0)
        until = asyncio.get_running_loop().time() + milliseconds / 1000
        while (left := until - asyncio.get_running_loop().time()) > 0:
            execution.check()
            await asyncio.sleep(min(left, 0.25))

    async def _release(self, execution: Execution) -> None:
        submissions = self._bridge.flue.submissions
        with contextlib.suppress(OutcomeUnknown):
            if await self._bridge.call(submissions.release, execution.attempt):
                self._telemetry.event("released", submission_id=execution.submission_id, agent=execution.agent_name)


def _take_notice(task: asyncio.Future[Any]) -> None:
    """What an abandoned handler came to interests nobody; not asking would be reported as an error never retrieved."""
    if not task.cancelled():
        error = task.exception()
        if isinstance(error, Interruption) or error is None:
            return
