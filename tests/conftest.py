"""Fixtures for all tests; what they are is told in :mod:`tests.databases.fixtures` and :mod:`tests.databases.stores`."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ["tests.databases.fixtures", "tests.databases.stores"]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own environment must not reach the code under test."""
    for name in os.environ:
        if name == "DATABASE_URL" or (name.startswith(("FLUE_", "FLUENT_")) and not name.startswith("FLUE_TEST_")):
            monkeypatch.delenv(name)
