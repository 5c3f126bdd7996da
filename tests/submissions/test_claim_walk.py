"""How ``claim_next`` walks from session to session when the oldest rows are nobody's business."""

from __future__ import annotations

from typing import Any

import pytest

from flue_sqla import Attempt, Flue
from flue_sqla.errors import SerializationConflict
from flue_sqla.repositories.submissions.claim_next import WINDOW
from tests.submissions.inputs import admit_ready


def test_the_session_where_the_last_walk_ended_is_found_again(flue: Flue) -> None:
    """Behind so many rows of another agent that a claim has to walk; MySQL compares as if blanks followed the shorter key."""
    for number in range(WINDOW + 1):
        admit_ready(flue, f"other-{number}", agent="other")
    for name in ("first", "second"):
        admit_ready(flue, name, agent="mine", instance="x")
        (claimed,) = flue.submissions.claim_next(owner_id="owner", agents=["mine"])
        assert claimed.submission_id == name
        assert flue.submissions.complete(Attempt(submission_id=name, attempt_id=claimed.attempt_id or ""))


@pytest.mark.databases("sqlite", "mariadb")
def test_what_is_claimed_already_is_returned_when_the_next_claim_fails(flue: Flue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each head is a transaction of its own: the caller must learn of those that are committed."""
    for name in ("one", "two"):
        admit_ready(flue, name, instance=name)
    claim_locked = flue.submissions._claim_locked

    def fails_for_two(executor: Any, parameters: dict[str, Any]) -> Any:
        if parameters["id"] == "two":
            raise SerializationConflict("another transaction was faster")
        return claim_locked(executor, parameters)

    monkeypatch.setattr(flue.submissions, "_claim_locked", fails_for_two)
    assert [found.submission_id for found in flue.submissions.claim_next(owner_id="owner", agents=["assistant"], limit=2)] == ["one"]
    with pytest.raises(SerializationConflict):
        flue.submissions.claim_next(owner_id="owner", agents=["assistant"], limit=2)


def test_more_agents_than_a_statement_can_name_are_claimed_for_in_turns(flue: Flue) -> None:
    agents = [f"agent-{number}" for number in range(600)]
    for name in ("agent-0", "agent-99", "agent-100", "agent-599"):
        admit_ready(flue, name, agent=name)
    assert [len(flue.submissions.claim_next(owner_id="o", agents=agents, limit=3)) for _ in range(2)] == [3, 1]
    assert flue.submissions.claim_next(owner_id="o", agents=agents, limit=3) == []
    assert len(flue.submissions.list_running()) == 4


def test_no_agent_is_always_the_last(flue: Flue) -> None:
    agents = [f"agent-{number}" for number in range(600)]
    for number in range(12):
        admit_ready(flue, f"first-{number}", agent="agent-0", instance=str(number))
    admit_ready(flue, "last", agent="agent-599")
    claimed = [one.submission_id for _ in range(6) for one in flue.submissions.claim_next(owner_id="o", agents=agents)]
    assert "last" in claimed
