"""What the state machines share: two sides, a clock, and small pools of names so that rules meet each other's rows."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from flue_sqla.records import Attempt
from flue_sqla.testing.harness import empty
from flue_sqla.testing.machine.comparison import Comparison
from flue_sqla.testing.model import memory_stores
from flue_sqla.testing.model.database import Row
from flue_sqla.testing.stores import Stores
from flue_sqla.wire import session_key

__all__ = ["AGENTS", "INSTANCES", "SESSIONS", "TwoSides", "sessions", "sometimes", "when"]

AGENTS = ("alpha", "beta")
INSTANCES = ("one", "two")
SESSIONS = tuple(session_key(agent, instance) for agent in AGENTS for instance in INSTANCES)
TABLE = "flue_agent_submissions"

sessions = st.sampled_from(SESSIONS)
#: One in eight: the wrong attempt, a stale producer, a foreign identity.
sometimes = st.integers(0, 7).map(lambda number: number == 7)


def when(*statuses: str) -> Callable[[TwoSides], bool]:
    """The precondition that some submission has one of the statuses."""
    return lambda machine: bool(machine.rows(*statuses))


class TwoSides(RuleBasedStateMachine):
    """A database and the model, driven side by side; every example starts from empty stores.

    Rules look at the model to choose something that matters, and now and then something that must be refused.
    """

    def __init__(self, real: Stores) -> None:
        super().__init__()
        empty(real)
        self.model = memory_stores(real.clock)
        self.real = real
        self.clock = real.clock
        self._comparison = Comparison(real, self.model)
        self.same = self._comparison.same
        self._names = 0

    def new_name(self, prefix: str) -> str:
        self._names += 1
        return f"{prefix}_{self._names}"

    def rows(self, *statuses: str) -> list[Row]:
        """The model's submissions, those with one of the statuses if any is given."""
        return [row for row in self.model.rows.select(TABLE) if not statuses or row["status"] in statuses]

    def row(self, submission_id: str) -> Row | None:
        found = self.model.rows.select(TABLE, submission_id=submission_id)
        return found[0] if found else None

    def draw_submission(self, data: st.DataObject, *statuses: str) -> str:
        """The id of a submission, mostly of one in one of the statuses."""
        rows = self.rows() if data.draw(sometimes, label="any status") else self.rows(*statuses)
        return str(data.draw(st.sampled_from([row["submission_id"] for row in rows] or ["never-admitted"])))

    def draw_attempt(self, data: st.DataObject, *statuses: str) -> Attempt:
        """Mostly the attempt that a submission in one of the statuses is under: its own, or its host's while it joins."""
        submission_id = self.draw_submission(data, *statuses)
        row = self.row(submission_id)
        if row is None or data.draw(sometimes, label="stale"):
            return Attempt(submission_id=submission_id, attempt_id=f"attempt_{data.draw(st.integers(0, self._names))}")
        host = self.row(row["joined_into"]) if row["joined_into"] else None
        attempt_id = row["attempt_id"] or (host or row)["attempt_id"] or "attempt_0"
        return Attempt(submission_id=submission_id, attempt_id=attempt_id)

    @rule(milliseconds=st.sampled_from([1, 29_999, 30_001, 3_600_001]))
    def time_passes(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds)

    def teardown(self) -> None:
        self._comparison.same_rows()
