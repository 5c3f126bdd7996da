"""Random histories: the database answers as the reference model does, call by call and row by row."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from flue_sqla.testing.machine import HistoryMachine, StoreMachine
from flue_sqla.testing.machine.base import TwoSides
from flue_sqla.testing.model import memory_stores
from flue_sqla.testing.stores import Stores

# A database is slower than Hypothesis expects, and one database serves all examples. Shrinking would take minutes: the printed
# steps, or the printed blob with Phase.shrink added, show a failure as well.
SETTINGS = settings(
    max_examples=30,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("machine", [StoreMachine, HistoryMachine])
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_database_answers_as_the_model_does(stores: Stores, machine: type[TwoSides]) -> None:
    run_state_machine_as_test(lambda: machine(stores), settings=SETTINGS)


@pytest.mark.parametrize("machine", [StoreMachine, HistoryMachine])
def test_the_model_answers_as_itself(machine: type[TwoSides]) -> None:
    """The machine itself: two models side by side agree."""
    run_state_machine_as_test(lambda: machine(memory_stores()), settings=settings(SETTINGS, max_examples=30))
