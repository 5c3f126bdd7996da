"""A Hypothesis state machine that drives a database and the reference model side by side and compares every answer.

    from hypothesis.stateful import run_state_machine_as_test
    from flue_sqla.testing.machine import StoreMachine

    def test_like_the_model(stores):
        run_state_machine_as_test(lambda: StoreMachine(stores))

``stores`` is emptied before every example; the whole row state is compared after it.
"""

from __future__ import annotations

from flue_sqla.testing.machine.conversations import ConversationRules
from flue_sqla.testing.machine.history import HistoryRules
from flue_sqla.testing.machine.submissions import SubmissionRules

__all__ = ["HistoryMachine", "StoreMachine"]


class StoreMachine(SubmissionRules, ConversationRules):
    """Submissions, conversations and attachments: what a live Flue 2 server shares with us."""


class HistoryMachine(HistoryRules, SubmissionRules):
    """Sessions, journals, runs and events, beside the submissions that they belong to."""
