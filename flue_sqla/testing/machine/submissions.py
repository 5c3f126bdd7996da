"""Submissions, from admission to settlement, with joins, aborts, lost workers and expired leases."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from flue_sqla.records import Attempt, DirectInput, DispatchInput, Durability, Lease, Submission
from flue_sqla.testing.contracts.examples import image, settlement, signal, user
from flue_sqla.testing.machine.base import AGENTS, TwoSides, sessions, sometimes, when
from flue_sqla.testing.machine.comparison import comparable
from flue_sqla.testing.stores import Stores
from flue_sqla.wire import format_timestamp, parse_session_key

__all__ = ["SubmissionRules"]

Kind = type[DispatchInput] | type[DirectInput]

owners = st.sampled_from(["owner_1", "owner_2"])
messages = st.sampled_from([signal("one"), signal("two"), user("one"), user("one", image(b"a")), user("one", image(b"b"), image(""))])
kinds: st.SearchStrategy[Kind] = st.just(DispatchInput) | st.just(DirectInput)
budgets = st.none() | st.integers(1, 3).map(lambda attempts: Durability(max_attempts=attempts, timeout_at=9_999_999_999_999))
leases = st.none() | owners.map(lambda owner: Lease(owner_id=owner, lease_expires_at=1))
errors = st.sampled_from(["it failed", "naïve \U0001f916 failure"])


class SubmissionRules(TwoSides):
    """Every operation of spec/submissions.md part A, and our ``claim_next`` and ``release``."""

    def __init__(self, real: Stores) -> None:
        super().__init__(real)
        self.inputs: dict[str, DispatchInput | DirectInput] = {}

    # -- admission --

    @initialize(lanes=st.lists(sessions, min_size=2, max_size=6), message=messages)
    def some_work_is_waiting(self, lanes: list[str], message: dict[str, Any]) -> None:
        for lane in lanes:
            self._admit_new(DirectInput if lane == lanes[0] else DispatchInput, lane, message)
        self.everything_is_ready()

    @rule(lane=sessions, message=messages, kind=kinds)
    def admit(self, lane: str, message: dict[str, Any], kind: Kind) -> None:
        self._admit_new(kind, lane, message)

    @precondition(when("running"))
    @rule(data=st.data(), message=messages, kind=kinds, unready=sometimes)
    def admit_behind_a_running_one(self, data: st.DataObject, message: dict[str, Any], kind: Kind, unready: bool) -> None:
        lane = data.draw(st.sampled_from(self.rows("running")))["session_key"]
        submission_id = self._admit_new(kind, lane, message)
        if not unready:
            self.same(lambda stores: stores.submissions.mark_ready(submission_id))

    def _admit_new(self, kind: Kind, lane: str, message: dict[str, Any]) -> str:
        address = parse_session_key(lane)
        assert address is not None
        submission_id, accepted_at = self.new_name("sub"), format_timestamp(self.clock.now())
        self.inputs[submission_id] = input = kind(
            submission_id=submission_id, agent=address.agent, id=address.instance_id, message=message, accepted_at=accepted_at
        )
        self.same(lambda stores: _admit(stores, input))
        return submission_id

    @precondition(when())
    @rule(data=st.data(), changes=st.sampled_from([{}, {}, {"message": signal("other")}, {"initial_data": None}]), kind=st.none() | kinds)
    def admit_again(self, data: st.DataObject, changes: dict[str, Any], kind: Kind | None) -> None:
        original = self.inputs[data.draw(st.sampled_from(sorted(self.inputs)))]
        fields = {name: getattr(original, name) for name in ("submission_id", "agent", "id", "message", "initial_data", "accepted_at")}
        input = (kind or type(original))(**{**fields, **changes})
        self.same(lambda stores: _admit(stores, input))

    @precondition(when("queued"))
    @rule(data=st.data())
    def ready(self, data: st.DataObject) -> None:
        submission_id = self.draw_submission(data, "queued")
        self.same(lambda stores: stores.submissions.mark_ready(submission_id))

    @rule()
    def everything_is_ready(self) -> None:
        for row in self.model.submissions.list_unready():
            self._ask("mark_ready", row.submission_id)

    # -- claims --

    @precondition(when("queued"))
    @rule(data=st.data(), owner=owners, lease_ms=st.sampled_from([1, 30_000]))
    def claim(self, data: st.DataObject, owner: str, lease_ms: int) -> None:
        heads = [row.submission_id for row in self.model.submissions.list_runnable()]
        submission_id = data.draw(st.sampled_from(heads)) if heads else self.draw_submission(data, "queued")
        attempt_id, until = self.new_name("attempt"), self.clock.now() + lease_ms
        self.same(lambda stores: stores.submissions.claim(submission_id, attempt_id=attempt_id, owner_id=owner, lease_expires_at=until))

    @precondition(when("queued"))
    @rule(owner=owners, agents=st.sampled_from([AGENTS, AGENTS[:1], ("nobody", AGENTS[1])]), limit=st.integers(1, 3))
    def claim_next(self, owner: str, agents: tuple[str, ...], limit: int) -> None:
        """Which heads it takes is free, so the model claims what the database took; how many is not."""
        eligible = {row.submission_id for row in self.model.submissions.list_runnable() if _agent(row.session_key) in agents}
        taken = self.real.submissions.claim_next(owner_id=owner, agents=agents, limit=limit)
        assert len(taken) == min(limit, len(eligible))
        assert {row.submission_id for row in taken} <= eligible
        for row in taken:
            self._follow(row, owner)

    def _follow(self, row: Submission, owner: str) -> None:
        assert row.attempt_id is not None
        assert row.lease_expires_at == self.clock.now() + 30_000
        expected = self.model.submissions.claim(
            row.submission_id, attempt_id=row.attempt_id, owner_id=owner, lease_expires_at=row.lease_expires_at
        )
        assert comparable(row) == comparable(expected)

    # -- what a running attempt does --

    @precondition(when("running"))
    @rule(data=st.data(), budget=budgets)
    def apply_input(self, data: st.DataObject, budget: Durability | None) -> None:
        attempt = self.draw_attempt(data, "running")
        self.same(lambda stores: stores.submissions.mark_input_applied(attempt, budget))

    @precondition(when("running"))
    @rule(data=st.data(), how=st.sampled_from(["requeue", "release"]))
    def give_back(self, data: st.DataObject, how: str) -> None:
        attempt = self.draw_attempt(data, "running")
        self.same(lambda stores: getattr(stores.submissions, how)(attempt))

    @precondition(when("running"))
    @rule(data=st.data(), lease=leases)
    def replace(self, data: st.DataObject, lease: Lease | None) -> None:
        attempt, next_id = self.draw_attempt(data, "running"), self.new_name("attempt")
        self.same(lambda stores: stores.submissions.replace_attempt(attempt, next_id, lease))

    @precondition(when("running"))
    @rule(owner=owners, unknown=sometimes)
    def renew(self, owner: str, unknown: bool) -> None:
        ids = [row["submission_id"] for row in self.rows("running", "terminalizing", "settled")][: 0 if unknown else 5]
        self.same(lambda stores: stores.submissions.renew_leases(owner, ids))

    @rule(session=sessions)
    def abort(self, session: str) -> None:
        self.same(lambda stores: stores.submissions.request_abort(session), unordered=True)

    # -- settlement --

    @precondition(when("running"))
    @rule(data=st.data(), error=st.none() | errors)
    def end(self, data: st.DataObject, error: str | None) -> None:
        attempt = self.draw_attempt(data, "running")
        self.same(lambda stores: stores.submissions.complete(attempt) if error is None else stores.submissions.fail(attempt, error))

    @precondition(when("queued"))
    @rule(data=st.data(), error=errors)
    def settle_queued(self, data: st.DataObject, error: str) -> None:
        submission_id = self.draw_submission(data, "queued")
        self.same(lambda stores: stores.submissions.settle_queued(submission_id, "failed", error))

    @precondition(when("running", "joined"))
    @rule(data=st.data(), outcome=st.sampled_from(["completed", "failed", "aborted"]), detailed=st.booleans())
    def reserve(self, data: st.DataObject, outcome: str, detailed: bool) -> None:
        attempt = self.draw_attempt(data, "running", "joined", "terminalizing")
        record = settlement(attempt, outcome, error={"message": "from the record"} if detailed else None)
        self.same(lambda stores: stores.submissions.reserve_settlement(attempt, record["id"], record))

    @precondition(when("terminalizing"))
    @rule(data=st.data(), error=st.none() | errors)
    def finalize(self, data: st.DataObject, error: str | None) -> None:
        attempt = self.draw_attempt(data, "terminalizing")
        record_id = settlement(attempt)["id"]
        self.same(lambda stores: stores.submissions.finalize_settlement(attempt, record_id, error_message=error))

    # -- joins --

    @precondition(when("running"))
    @rule(data=st.data(), foreign=sometimes)
    def claim_joinable(self, data: st.DataObject, foreign: bool) -> None:
        host = self.draw_attempt(data, "running")
        row = self.row(host.submission_id)
        name = "nobody" if foreign or row is None else _agent(row["session_key"])
        self.same(lambda stores: stores.submissions.claim_joinable(host, name))

    @precondition(when("joining"))
    @rule(data=st.data(), how=st.sampled_from(["finalize_join", "revert_join"]))
    def end_join(self, data: st.DataObject, how: str) -> None:
        delivery = self.draw_attempt(data, "joining")
        row = self.row(delivery.submission_id)
        host_id = row["joined_into"] if row and row["joined_into"] else "never-admitted"
        host = Attempt(submission_id=host_id, attempt_id=delivery.attempt_id)
        self.same(lambda stores: getattr(stores.submissions, how)(host, delivery.submission_id))

    # -- lost workers --

    @precondition(when("running"))
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
