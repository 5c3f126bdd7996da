"""The begin of an attempt: the stream caught up with, its producer acquired, the input in place, the budget installed."""

from __future__ import annotations

from typing import Final

from flue_sqla.conversation import Inspection, inspect_submission
from flue_sqla.errors import InternalStateError
from flue_sqla.records.submission import Durability
from flue_sqla.worker.acquisition import NotOurs, StreamMoved, acquire
from flue_sqla.worker.bridge import Bridge
from flue_sqla.worker.execution import Execution
from flue_sqla.worker.inputs import opening_records
from flue_sqla.worker.interruptions import Lost
from flue_sqla.worker.persisting import persist
from flue_sqla.worker.views import Views
from flue_sqla.worker.writer import Writer

__all__ = ["open_attempt"]

_TRIES: Final = 20


async def open_attempt(bridge: Bridge, views: Views, execution: Execution, owner_id: str) -> tuple[Writer, Inspection]:
    """Make the execution the stream's producer and put its input there, in one transaction.

    Returns:
        The writer, and what the stream showed of the submission before (``completed``: only the settlement is missing).

    Raises:
        Lost: the row is not running under this attempt any more; nobody was fenced.
        ConversationRecordInvariantError: no reader would accept this stream.
    """
    submission = execution.submission
    flue = bridge.flue
    for _ in range(_TRIES):
        view = await persist(execution, lambda: views.current(execution.path))
        found = inspect_submission(view.state, submission.kind, submission.submission_id)
        # Completed: nothing of this submission may follow its answer.
        records = [] if found == "completed" else opening_records(view.state, submission, execution.attempt.attempt_id, flue.clock.now())
        try:
            acquired = await persist(
                execution,
                lambda: bridge.call(
                    acquire,
                    flue,
                    execution.path,
                    owner_id,
                    execution.attempt,
                    expected_offset=view.offset,  # noqa: B023
                    records=records,  # noqa: B023
                    durability=_budget(execution),
                ),
            )
        except StreamMoved:
            views.forget(execution.path)
            continue
        except NotOurs as error:
            views.forget(execution.path)
            lost = Lost("the submission is not running under this attempt any more")
            execution.interrupt(lost)
            raise lost from error
        except BaseException:
            views.forget(execution.path)
            raise
        view.offset = acquired.offset
        return Writer(bridge, views, view, execution, acquired), found
    raise InternalStateError(f"The stream {execution.path} moves all the time under a running submission.", meta={"path": execution.path})


def _budget(execution: Execution) -> Durability:
    """The budget that the first attempt installs; later ones change nothing (spec/submissions.md §7.4)."""
    submission, agent = execution.submission, execution.agent
    started_at = submission.started_at or 0
    return Durability(max_attempts=agent.max_attempts, timeout_at=started_at + agent.timeout_ms)
