"""Fixtures for all tests; what they are is told in :mod:`tests.databases.fixtures` and :mod:`tests.databases.stores`."""

from __future__ import annotations

import os

import hypothesis
import pytest

pytest_plugins = ["tests.databases.fixtures", "tests.databases.stores"]

# Here, since tests of several folders use them, and only what is not imported yet can be rewritten.
pytest.register_assert_rewrite("flue_sqla.testing.contracts", "flue_sqla.testing.machine")

# No deadline: on a busy machine it says nothing about the code. A build judges a change and not the luck of the draw, so there the
# examples are the same each time; everywhere else each run looks at new ones.
hypothesis.settings.register_profile("flue", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "flue")


def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: a third of its time a test waits for a server, or for a time limit to pass."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own environment must not reach the code under test."""
    for name in os.environ:
        if name == "DATABASE_URL" or (name.startswith(("FLUE_", "FLUENT_")) and not name.startswith("FLUE_TEST_")):
            monkeypatch.delenv(name)
