"""What the state machines share: two sides, a clock, and small pools of names so that rules meet each other's rows."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from flue_sqla.records import Attempt
from flue_sqla.testing.harness import empty
from flue_sqla.testing.machine.comparison import Comparison
from flue_sqla.testing.model import memory_stores
from flue_sqla.testing.model.database import Row
from flue_sqla.testing.stores import Stores
from flue_sqla.wire import session_key

__all__ = ["AGENTS", "INSTANCES", "SESSIONS", "SUBMISSIONS", "TwoSides", "sessions", "submission_ids"]

AGENTS = ("alpha", "beta")
INSTANCES = ("one", "two")
SESSIONS = tuple(session_key(agent, instance) for agent in AGENTS for instance in INSTANCES)
SUBMISSIONS = tuple(f"sub_{number}" for number in range(7))

submission_ids = st.sampled_from(SUBMISSIONS)
sessions = st.sampled_from(SESSIONS)


class TwoSides(RuleBasedStateMachine):
    """A database and the model, driven side by side; every example starts from empty stores."""

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

    def row(self, submission_id: str) -> Row | None:
        """The model's row: what rules look at to choose something that matters."""
        found = self.model.rows.select("flue_agent_submissions", submission_id=submission_id)
        return found[0] if found else None

    def draw_attempt(self, data: st.DataObject, *statuses: str) -> Attempt:
        """Mostly the current attempt of a row in one of the statuses, sometimes a stale or an unknown one."""
        rows = [row for row in self.model.rows.select("flue_agent_submissions") if not statuses or row["status"] in statuses]
        if not rows or data.draw(st.integers(0, 9), label="stale?") == 0:
            return Attempt(submission_id=data.draw(submission_ids), attempt_id=f"attempt_{data.draw(st.integers(0, self._names + 1))}")
        row = data.draw(st.sampled_from(rows))
        host = self.row(row["joined_into"]) if row["joined_into"] else None
        attempt_id = row["attempt_id"] or (host or row)["attempt_id"] or "attempt_0"
        return Attempt(submission_id=row["submission_id"], attempt_id=attempt_id)

    @rule(milliseconds=st.sampled_from([0, 1, 29_999, 30_001, 3_600_001]))
    def time_passes(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds)

    def teardown(self) -> None:
        self._comparison.same_rows()
