"""The conformance suite as a pytest plugin: ``pytest -p flue_sqla.testing.plugin --pyargs flue_sqla.testing.suite --flue-url URL``.

The database that the URL names is migrated and then emptied before every test, so it must hold nothing: a database with rows in any
``flue_*`` table is refused. The face follows the driver: ``postgresql+psycopg`` runs the suite on ``Flue``, ``postgresql+asyncpg`` on
``AsyncFlue``. Without a URL the suite runs against the in-memory reference model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flue_sqla.testing.stores import Stores

pytest.register_assert_rewrite("flue_sqla.testing.contracts", "flue_sqla.testing.machine")

__all__ = ["pytest_addoption", "stores"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the suite."""
    group = parser.getgroup("flue", "flue-sqla conformance")
    group.addoption("--flue-url", help="SQLAlchemy URL of an empty database to run the conformance suite against")
    group.addoption("--flue-schema", help="database schema in which the flue_* tables live")


@pytest.fixture(scope="session")
def flue_stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    """The stores under test for the whole run; override this fixture to test stores of your own."""
    from sqlalchemy.exc import ArgumentError

    from flue_sqla.errors import FlueError
    from flue_sqla.testing.harness import open_stores
    from flue_sqla.testing.model import memory_stores

    url = request.config.getoption("--flue-url")
    if url is None:
        yield memory_stores()
        return
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(open_stores(url, schema=request.config.getoption("--flue-schema")))
        except (FlueError, ArgumentError) as error:
            # Every test would report this one reason, each with a traceback of ours.
            pytest.exit(f"--flue-url: {error} {getattr(error, 'remedy', '')}".rstrip(), returncode=pytest.ExitCode.USAGE_ERROR)
        yield opened


@pytest.fixture
def stores(flue_stores: Stores) -> Stores:
    """What every contract test works with: empty stores and a clock of the test's own time."""
    from flue_sqla.testing.harness import empty

    empty(flue_stores)
    return flue_stores
