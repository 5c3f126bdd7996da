"""``stores`` for the contracts: the reference model, and a migrated database of the test's own behind each face."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flue_sqla.testing.harness import open_stores
from flue_sqla.testing.stores import Stores
from tests.databases.contract import Database

pytest.register_assert_rewrite("flue_sqla.testing.contracts", "flue_sqla.testing.machine")


@pytest.fixture(params=["blocking", "awaited"])
def stores(migrated: Database, request: pytest.FixtureRequest) -> Iterator[Stores]:
    """The stores of a ``Flue`` or an ``AsyncFlue``; the contracts cannot tell which."""
    url = migrated.url if request.param == "blocking" else migrated.async_url
    # The template is at head already; what booting does is the stamp contract's own subject.
    with open_stores(url, boot=False) as opened:
        yield opened
