"""Many deliveries that join at once."""

from __future__ import annotations

import pytest

from flue_sqla import Attempt, Flue
from tests.submissions.inputs import admit_ready, run, status

NAMES = ["one", "two", "three"]


@pytest.fixture
def host(flue: Flue) -> Attempt:
    """A running host with three joining deliveries."""
    host = run(flue, "host")
    for name in NAMES:
        admit_ready(flue, name)
    assert [child.submission_id for child in flue.submissions.claim_joinable(host, "assistant")] == NAMES
    return host


def test_they_are_finalized_together_and_again_without_effect(flue: Flue, host: Attempt) -> None:
    assert flue.submissions.finalize_joins(host, NAMES)
    before = [flue.submissions.get(name) for name in NAMES]
    assert [child.status for child in before if child] == ["joined"] * 3
    assert all(child and child.input_applied_at for child in before)
    assert flue.submissions.finalize_joins(host, [*NAMES, *NAMES])
    assert [flue.submissions.get(name) for name in NAMES] == before


def test_one_that_is_not_joining_is_told(flue: Flue, host: Attempt) -> None:
    assert flue.submissions.revert_join(host, "three")
    assert not flue.submissions.finalize_joins(host, NAMES)
    assert [status(flue, name) for name in NAMES] == ["joined", "joined", "queued"]


def test_nothing_joins_a_host_that_runs_under_another_attempt(flue: Flue, host: Attempt) -> None:
    assert not flue.submissions.finalize_joins(Attempt(submission_id="host", attempt_id="stale"), NAMES)
    assert [status(flue, name) for name in NAMES] == ["joining"] * 3
    assert flue.submissions.complete(host)
    assert not flue.submissions.finalize_joins(host, NAMES)
    assert [status(flue, name) for name in NAMES] == ["queued"] * 3
