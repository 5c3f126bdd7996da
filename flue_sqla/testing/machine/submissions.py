"""Submissions, from admission to settlement, with joins, aborts, lost workers and expired leases."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from flue_sqla.records import Attempt, DirectInput, DispatchInput, Durability, Lease, Submission
from flue_sqla.testing.contracts.examples import image, settlement, signal, user
from flue_sqla.testing.machine.base import AGENTS, INSTANCES, TwoSides, sessions, submission_ids
from flue_sqla.testing.stores import Stores
from flue_sqla.wire import format_timestamp, parse_session_key

__all__ = ["SubmissionRules"]

owners = st.sampled_from(["owner_1", "owner_2"])
messages = st.sampled_from([signal("one"), signal("two"), user("one"), user("one", image(b"a")), user("one", image(b"b"), image(""))])
budgets = st.none() | st.integers(1, 3).map(lambda attempts: Durability(max_attempts=attempts, timeout_at=9_999_999_999_999))
leases = st.none() | owners.map(lambda owner: Lease(owner_id=owner, lease_expires_at=1))
errors = st.sampled_from(["it failed", "naïve \U0001f916 failure"])


class SubmissionRules(TwoSides):
    """Every operation of spec/submissions.md part A, and our ``claim_next`` and ``release``."""

    def __init__(self, real: Stores) -> None:
        super().__init__(real)
        self.inputs: dict[str, DispatchInput | DirectInput] = {}

    # -- admission --

    @rule(
        submission_id=submission_ids,
        agent=st.sampled_from(AGENTS),
        instance=st.sampled_from(INSTANCES),
        message=messages,
        kind=st.sampled_from([DispatchInput, DirectInput]),
        replay=st.booleans(),
    )
    def admit(self, submission_id: str, agent: str, instance: str, message: dict[str, Any], kind: Any, replay: bool) -> None:
        input = self.inputs.get(submission_id)
        if input is None or not replay:
            accepted_at = format_timestamp(self.clock.now())
            input = kind(submission_id=submission_id, agent=agent, id=instance, message=message, accepted_at=accepted_at)
        self.inputs.setdefault(submission_id, input)
        self.same(lambda stores: _admit(stores, input))

    @rule(submission_id=submission_ids)
    def ready(self, submission_id: str) -> None:
        self.same(lambda stores: stores.submissions.mark_ready(submission_id))

    @rule()
    def everything_is_ready(self) -> None:
        for row in self.model.submissions.list_unready():
            self.ready(row.submission_id)

    # -- claims --

    @rule(submission_id=submission_ids, owner=owners, lease_ms=st.sampled_from([1, 30_000]))
    def claim(self, submission_id: str, owner: str, lease_ms: int) -> None:
        attempt_id, until = self.new_name("attempt"), self.clock.now() + lease_ms
        self._claim(submission_id, attempt_id, owner, until)

    def _claim(self, submission_id: str, attempt_id: str, owner: str, until: int) -> None:
        self.same(lambda stores: stores.submissions.claim(submission_id, attempt_id=attempt_id, owner_id=owner, lease_expires_at=until))

    @rule(owner=owners, agents=st.lists(st.sampled_from([*AGENTS, "nobody"]), unique=True), limit=st.integers(1, 3))
    def claim_next(self, owner: str, agents: list[str], limit: int) -> None:
        """Which heads it takes is free, so the model claims what the database took; how many is not."""
        heads = {row.submission_id: row for row in self.model.submissions.list_runnable()}
        eligible = {name for name, row in heads.items() if _agent(row.session_key) in agents}
        taken = self.real.submissions.claim_next(owner_id=owner, agents=agents, limit=limit)
        assert len(taken) == min(limit, len(eligible))
        assert {row.submission_id for row in taken} <= eligible
        for row in taken:
            assert row.attempt_id is not None
            expected = self.model.submissions.claim(
                row.submission_id, attempt_id=row.attempt_id, owner_id=owner, lease_expires_at=row.lease_expires_at
            )
            assert expected is not None
            assert row.model_copy(update={"sequence": 0}) == expected.model_copy(update={"sequence": 0})
            assert row.lease_expires_at == self.clock.now() + 30_000

    # -- what a running attempt does --

    @rule(data=st.data(), budget=budgets)
    def apply_input(self, data: st.DataObject, budget: Durability | None) -> None:
        attempt = self.draw_attempt(data, "running")
        self.same(lambda stores: stores.submissions.mark_input_applied(attempt, budget))

    @rule(data=st.data(), how=st.sampled_from(["requeue", "release"]))
    def give_back(self, data: st.DataObject, how: str) -> None:
        attempt = self.draw_attempt(data, "running")
        self.same(lambda stores: getattr(stores.submissions, how)(attempt))

    @rule(data=st.data(), lease=leases)
    def replace(self, data: st.DataObject, lease: Lease | None) -> None:
        attempt, next_id = self.draw_attempt(data, "running"), self.new_name("attempt")
        self.same(lambda stores: stores.submissions.replace_attempt(attempt, next_id, lease))

    @rule(owner=owners, ids=st.lists(submission_ids, unique=True))
    def renew(self, owner: str, ids: list[str]) -> None:
        self.same(lambda stores: stores.submissions.renew_leases(owner, ids))

    @rule(session=sessions)
    def abort(self, session: str) -> None:
        self.same(lambda stores: stores.submissions.request_abort(session), unordered=True)

    # -- settlement --

    @rule(data=st.data(), error=st.none() | errors)
    def end(self, data: st.DataObject, error: str | None) -> None:
        attempt = self.draw_attempt(data, "running")
        self.same(lambda stores: stores.submissions.complete(attempt) if error is None else stores.submissions.fail(attempt, error))

    @rule(submission_id=submission_ids, error=errors)
    def settle_queued(self, submission_id: str, error: str) -> None:
        self.same(lambda stores: stores.submissions.settle_queued(submission_id, "failed", error))

    @rule(data=st.data(), outcome=st.sampled_from(["completed", "failed", "aborted"]), detailed=st.booleans())
    def reserve(self, data: st.DataObject, outcome: str, detailed: bool) -> None:
        attempt = self.draw_attempt(data, "running", "joined", "terminalizing")
        record = settlement(attempt, outcome, error={"message": "from the record"} if detailed else None)
        self.same(lambda stores: stores.submissions.reserve_settlement(attempt, record["id"], record))

    @rule(data=st.data(), error=st.none() | errors)
    def finalize(self, data: st.DataObject, error: str | None) -> None:
        attempt = self.draw_attempt(data, "terminalizing")
        record_id = settlement(attempt)["id"]
        self.same(lambda stores: stores.submissions.finalize_settlement(attempt, record_id, error_message=error))

    # -- joins --

    @rule(data=st.data(), agent=st.none() | st.sampled_from(AGENTS))
    def claim_joinable(self, data: st.DataObject, agent: str | None) -> None:
        host = self.draw_attempt(data, "running")
        row = self.row(host.submission_id)
        name = agent or (_agent(row["session_key"]) if row else AGENTS[0])
        self.same(lambda stores: stores.submissions.claim_joinable(host, name))

    @rule(data=st.data(), how=st.sampled_from(["finalize_join", "revert_join"]))
    def end_join(self, data: st.DataObject, how: str) -> None:
        delivery = self.draw_attempt(data, "joining")
        row = self.row(delivery.submission_id)
        host_id = row["joined_into"] if row and row["joined_into"] else data.draw(submission_ids)
        host = Attempt(submission_id=host_id, attempt_id=delivery.attempt_id)
        self.same(lambda stores: getattr(stores.submissions, how)(host, delivery.submission_id))

    # -- lost workers --

    @rule(owner=owners)
    def workers_die_and_are_replaced(self, owner: str) -> None:
        """Every attempt is dropped where it stands; once its lease has run out somebody else takes it over or gives it up."""
        self.clock.advance(30_001)
        for expired in self.same(lambda stores: stores.submissions.list_expired()):
            self._take_over(expired, owner)

    def _take_over(self, expired: Submission, owner: str) -> None:
        attempt = expired.attempt
        assert attempt is not None
        if expired.attempt_count >= expired.max_attempts:
            self.same(lambda stores: stores.submissions.fail(attempt, "no attempts left"))
            return
        next_id, lease = self.new_name("attempt"), Lease(owner_id=owner, lease_expires_at=self.clock.now() + 30_000)
        self.same(lambda stores: stores.submissions.replace_attempt(attempt, next_id, lease))

    @rule(session=sessions)
    def look(self, session: str) -> None:
        for name in ("list_unready", "list_runnable", "list_running", "list_expired", "list_pending_settlements", "has_unsettled"):
            self._ask(name)
        for row in self.model.rows.select("flue_agent_submissions", session_key=session):
            self._ask("get", row["submission_id"])
            self._ask("list_joined", row["submission_id"])

    def _ask(self, name: str, *arguments: Any) -> None:
        self.same(lambda stores: getattr(stores.submissions, name)(*arguments))


def _admit(stores: Stores, input: DispatchInput | DirectInput) -> Any:
    if isinstance(input, DirectInput):
        return stores.submissions.admit_direct(input)
    return stores.submissions.admit_dispatch(input)


def _agent(key: str) -> str:
    address = parse_session_key(key)
    assert address is not None
    return address.agent
