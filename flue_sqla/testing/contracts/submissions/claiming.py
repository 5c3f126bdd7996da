"""Ordering and claims: items 11 to 14, X5 and X6 of the submission contract, and our own ``claim_next``."""

from __future__ import annotations

import pytest

from flue_sqla.testing.contracts.examples import (
    LEASE_MS,
    OWNER,
    admitted,
    attempt,
    canonical_session,
    claimed,
    direct,
    dispatch,
    ready,
    running,
    submission,
)
from flue_sqla.testing.stores import Stores


class OrderingContract:
    """spec/submissions.md §6: one session is one lane, strictly first in first out."""

    def test_s11_the_heads_of_two_sessions_are_runnable_and_the_follower_is_not(self, stores: Stores) -> None:
        first = ready(stores, direct("direct-1"))
        ready(stores, dispatch("dispatch-1"))
        other = ready(stores, direct("direct-2", id="agent-2"))
        assert stores.submissions.list_runnable() == [first, other]
        assert claimed(stores, "dispatch-1") is None

    def test_s12_only_the_first_of_each_session_is_runnable_in_admission_order(self, stores: Stores) -> None:
        first = ready(stores, dispatch("dispatch-1"))
        ready(stores, dispatch("dispatch-2"))
        third = ready(stores, dispatch("dispatch-3", id="agent-2"))
        assert stores.submissions.list_runnable() == [first, third]

    def test_s13_two_agents_with_one_instance_id_are_independent_lanes(self, stores: Stores) -> None:
        first = ready(stores, dispatch("dispatch-1", agent="assistant"))
        second = ready(stores, dispatch("dispatch-2", agent="reviewer"))
        assert stores.submissions.list_runnable() == [first, second]
        assert claimed(stores, "dispatch-1") is not None
        assert claimed(stores, "dispatch-2", "attempt-2") is not None

    def test_s13b_list_runnable_honours_its_limit(self, stores: Stores) -> None:
        first = ready(stores, dispatch("dispatch-1"))
        ready(stores, dispatch("dispatch-2", id="agent-2"))
        assert stores.submissions.list_runnable(limit=1) == [first]

    def test_x05_an_unready_earlier_row_blocks_a_ready_later_one(self, stores: Stores) -> None:
        admitted(stores, dispatch("dispatch-1"))
        ready(stores, dispatch("dispatch-2"))
        assert stores.submissions.list_runnable() == []
        assert claimed(stores, "dispatch-2") is None
        assert stores.submissions.claim_next(owner_id=OWNER, agents=["assistant"], limit=5) == []
        stores.submissions.mark_ready("dispatch-1")
        assert [found.submission_id for found in stores.submissions.list_runnable()] == ["dispatch-1"]


class ClaimContract:
    """spec/submissions.md §7.3."""

    def test_s14_heads_are_claimed_and_the_blocked_one_is_not(self, stores: Stores) -> None:
        ready(stores, dispatch("dispatch-1"))
        ready(stores, dispatch("dispatch-2"))
        ready(stores, dispatch("dispatch-3", id="agent-2"))
        first = claimed(stores, "dispatch-1", "attempt-1")
        assert claimed(stores, "dispatch-2", "attempt-2") is None
        third = claimed(stores, "dispatch-3", "attempt-3")
        assert first is not None
        assert third is not None
        assert first.status == "running"
        assert isinstance(first.started_at, int)
        assert stores.submissions.list_running() == [first, third]
        assert stores.submissions.list_runnable() == []

    def test_s14b_a_claim_installs_the_attempt_its_owner_and_its_lease(self, stores: Stores) -> None:
        ready(stores, dispatch())
        taken = claimed(stores, "dispatch-1", lease_expires_at=stores.clock.now() + 1_234)
        assert taken is not None
        assert (taken.attempt_id, taken.owner_id, taken.lease_expires_at) == ("attempt-1", OWNER, stores.clock.now() + 1_234)
        assert (taken.started_at, taken.attempt_count) == (stores.clock.now(), 1)
        assert claimed(stores, "dispatch-1", "attempt-2") is None
        assert claimed(stores, "never-admitted") is None

    def test_x06_an_abort_request_survives_claim_and_replacement(self, stores: Stores) -> None:
        ready(stores, dispatch())
        stores.submissions.request_abort(canonical_session("assistant", "agent-1"))
        requested = submission(stores).abort_requested_at
        assert requested is not None
        stores.clock.advance(10)
        taken = claimed(stores, "dispatch-1")
        assert taken is not None
        assert taken.abort_requested_at == requested
        stores.submissions.mark_input_applied(attempt())
        applied = submission(stores).input_applied_at
        stores.clock.advance(10)
        replaced = stores.submissions.replace_attempt(attempt(), "attempt-2")
        assert replaced is not None
        assert (replaced.abort_requested_at, replaced.input_applied_at) == (requested, applied)
        assert replaced.started_at == stores.clock.now()

    def test_x06_requeue_keeps_counters_readiness_and_timeout(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        before = submission(stores)
        stores.clock.advance(10)
        assert stores.submissions.requeue(owner)
        after = submission(stores)
        kept = ("attempt_count", "max_attempts", "timeout_at", "canonical_ready_at", "abort_requested_at")
        assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
        dropped = ("attempt_id", "input_applied_at", "started_at", "owner_id")
        assert [getattr(after, name) for name in dropped] == [None] * 4
        assert after.lease_expires_at == 0


class ClaimNextContract:
    """``claim_next``: several workers, each session strictly in order, only the agents named. Ours; Flue has no such method."""

    def test_n01_it_claims_heads_of_the_named_agents_only(self, stores: Stores) -> None:
        ready(stores, dispatch("mine-1"))
        ready(stores, dispatch("mine-2"))
        ready(stores, dispatch("theirs", agent="reviewer"))
        (taken,) = stores.submissions.claim_next(owner_id=OWNER, agents=["assistant"], limit=10)
        assert (taken.submission_id, taken.status, taken.owner_id) == ("mine-1", "running", OWNER)
        assert (taken.attempt_count, taken.lease_expires_at) == (1, stores.clock.now() + LEASE_MS)
        assert taken == submission(stores, "mine-1")
        assert stores.submissions.claim_next(owner_id=OWNER, agents=["assistant"], limit=10) == []
        assert submission(stores, "theirs").status == "queued"

    def test_n02_it_takes_at_most_limit_each_under_its_own_attempt_and_misses_none(self, stores: Stores) -> None:
        names = [f"dispatch-{number}" for number in range(4)]
        for number, name in enumerate(names):
            ready(stores, dispatch(name, id=f"agent-{number}"))
        first = stores.submissions.claim_next(owner_id=OWNER, agents=["assistant"], limit=3)
        assert len(first) == len({taken.attempt_id for taken in first}) == 3
        # Which heads come first is free; what is returned is in admission order.
        assert [taken.sequence for taken in first] == sorted(taken.sequence for taken in first)
        (rest,) = stores.submissions.claim_next(owner_id=OWNER, agents=["assistant"], limit=3)
        assert sorted(taken.submission_id for taken in [*first, rest]) == names

    def test_n03_without_agents_it_claims_nothing(self, stores: Stores) -> None:
        ready(stores, dispatch())
        assert stores.submissions.claim_next(owner_id=OWNER, agents=[], limit=10) == []

    @pytest.mark.parametrize("agent", ["a%b", "a_b", "a\\b", 'a"b', "Zoë", "エージェント", "a,b", "a[b", "agent' --", "\U0001f916"])
    def test_n04_agent_names_are_matched_exactly(self, stores: Stores, agent: str) -> None:
        decoys = ["a", "axb", "a%", "ab", agent + "2", agent.upper() + "x", "a\\\\b"]
        for number, name in enumerate(name for name in decoys if name != agent):
            ready(stores, dispatch(f"decoy-{number}", agent=name))
        ready(stores, dispatch("mine", agent=agent))
        taken = stores.submissions.claim_next(owner_id=OWNER, agents=[agent], limit=100)
        assert [found.submission_id for found in taken] == ["mine"]

    def test_n05_agent_names_are_case_and_accent_sensitive(self, stores: Stores) -> None:
        for number, name in enumerate(["Assistant", "ASSISTANT", "assıstant", "assistánt", "assistant "]):
            ready(stores, dispatch(f"decoy-{number}", agent=name))
        assert stores.submissions.claim_next(owner_id=OWNER, agents=["assistant"], limit=10) == []

    def test_n06_release_gives_the_attempt_back(self, stores: Stores) -> None:
        ready(stores, dispatch())
        (taken,) = stores.submissions.claim_next(owner_id=OWNER, agents=["assistant"])
        assert taken.attempt is not None
        assert stores.submissions.release(attempt("dispatch-1", "foreign")) is False
        assert stores.submissions.release(taken.attempt) is True
        released = submission(stores)
        assert (released.status, released.attempt_count, released.attempt_id, released.owner_id) == ("queued", 0, None, None)
        assert released.lease_expires_at == 0
        assert stores.submissions.release(taken.attempt) is False
        (again,) = stores.submissions.claim_next(owner_id=OWNER, agents=["assistant"])
        assert (again.submission_id, again.attempt_count) == ("dispatch-1", 1)

    def test_n07_release_keeps_joined_children_and_reverts_joining_ones(self, stores: Stores) -> None:
        host = running(stores, dispatch("host-1"))
        ready(stores, dispatch("child-1"))
        stores.submissions.claim_joinable(host, "assistant")
        stores.submissions.finalize_join(host, "child-1")
        ready(stores, dispatch("child-2"))
        stores.submissions.claim_joinable(host, "assistant")
        assert stores.submissions.release(host)
        assert (submission(stores, "child-1").status, submission(stores, "child-1").joined_into) == ("joined", "host-1")
        assert (submission(stores, "child-2").status, submission(stores, "child-2").joined_into) == ("queued", None)
