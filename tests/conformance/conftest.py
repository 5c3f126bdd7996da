"""``stores`` for the contracts: a Flue, or an AsyncFlue, on each enabled database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flue_sqla.testing.harness import empty, open_stores
from flue_sqla.testing.stores import Stores
from tests.databases.servers import Servers


@pytest.fixture(scope="session", params=["blocking", "awaited"])
def opened(servers: Servers, database_name: str, request: pytest.FixtureRequest) -> Iterator[Stores]:
    """One migrated database for all tests of a face, as the plugin does it: emptying it costs a third of making another."""
    database = servers.create_database(database_name, migrated=True)
    # At head already; what booting does is the stamp contract's own subject.
    with open_stores(database.url if request.param == "blocking" else database.async_url, boot=False) as stores:
        yield stores
    database.remove()


@pytest.fixture
def stores(opened: Stores) -> Stores:
    """Empty stores; the contracts cannot tell which face they have."""
    empty(opened)
    return opened
