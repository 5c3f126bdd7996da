"""How ``claim_next`` walks from session to session when the oldest rows are nobody's business."""

from __future__ import annotations

from flue_sqla import Attempt, Flue
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
