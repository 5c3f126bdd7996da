"""The fixtures every test area uses.

``@pytest.mark.databases("postgres", "mariadb")`` narrows a test to those systems.

``database``     an empty database, once per enabled database system
``migrated``     the same, already at head
``flue``         a booted :class:`flue_sqla.Flue` on a migrated database
``aflue``        its asynchronous twin
``memory_flue``  a booted Flue on an in-memory SQLite database
``icu_database``, ``icu_migrated``  PostgreSQL with the en-US ICU collation, which shows ordering mistakes that C.UTF-8 hides
``fault_repeats``  how often a fault test repeats itself
``runner``       the event loop of the test; ``async def`` tests run on it without any marker
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.databases.contract import Database
from tests.databases.servers import Servers, enabled

if TYPE_CHECKING:
    from flue_sqla import Flue
    from flue_sqla.asyncio import AsyncFlue


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once per enabled database, or once per database its ``databases`` marker names."""
    if "database_name" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("databases")
    wanted = set(marker.args) if marker else {name.removesuffix("-icu") for name in enabled()}
    chosen: list[Any] = [name for name in enabled() if name.removesuffix("-icu") in wanted]
    if not chosen:
        reason = f"only for {', '.join(sorted(wanted))}, not enabled by FLUE_TEST_DATABASES"
        chosen = [pytest.param(sorted(wanted)[0], marks=pytest.mark.skip(reason=reason))]
    metafunc.parametrize("database_name", chosen, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test on the event loop that its fixtures were made on."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or pyfuncitem.get_closest_marker("anyio"):
        return None
    runner: Any = pyfuncitem.funcargs.get("runner") or pyfuncitem._request.getfixturevalue("runner")
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    runner.run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """All servers of this worker; ``servers.get("postgres")`` starts one on first use."""
    running = Servers()
    yield running
    running.close()


@pytest.fixture
def database(servers: Servers, database_name: str) -> Iterator[Database]:
    """A fresh empty database of its own for this test."""
    created = servers.create_database(database_name, migrated=False)
    yield created
    created.remove()


@pytest.fixture
def migrated(servers: Servers, database_name: str) -> Iterator[Database]:
    """A fresh database at head."""
    created = servers.create_database(database_name, migrated=True)
    yield created
    created.remove()


@pytest.fixture
def icu_database(servers: Servers) -> Iterator[Database]:
    """An empty PostgreSQL database whose default collation is ICU en-US."""
    created = servers.create_database("postgres-icu", migrated=False)
    yield created
    created.remove()


@pytest.fixture
def icu_migrated(servers: Servers) -> Iterator[Database]:
    """The same, at head."""
    created = servers.create_database("postgres-icu", migrated=True)
    yield created
    created.remove()


@pytest.fixture(scope="session")
def fault_repeats() -> int:
    """How often a fault test repeats itself: few times by default, 20 in `nox -s faults`."""
    return int(os.environ.get("FLUE_TEST_FAULT_REPEATS", "2"))


@pytest.fixture
def artifact_url(tmp_path: Path) -> str:
    """A local artifact folder of the test's own."""
    return (tmp_path / "artifacts").as_uri()


@pytest.fixture
def flue(migrated: Database, artifact_url: str) -> Iterator[Flue]:
    """A booted Flue on a database of its own."""
    from flue_sqla import Flue

    booted = Flue(migrated.url, artifacts=artifact_url)
    booted.boot()
    yield booted
    booted.close()


@pytest.fixture
def memory_flue(artifact_url: str) -> Iterator[Flue]:
    """A booted Flue on an in-memory SQLite database."""
    from flue_sqla import Flue

    booted = Flue("sqlite:///:memory:", artifacts=artifact_url)
    booted.boot()
    yield booted
    booted.close()


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """The event loop on which this test and its asynchronous fixtures run."""
    with asyncio.Runner() as started:
        yield started


@pytest.fixture
def aflue(migrated: Database, artifact_url: str, runner: asyncio.Runner) -> Iterator[AsyncFlue]:
    """A booted AsyncFlue on a database of its own, alive on the test's event loop."""
    from flue_sqla.asyncio import AsyncFlue

    async def start() -> AsyncFlue:
        started = AsyncFlue(migrated.async_url, artifacts=artifact_url)
        await started.boot()
        return started

    booted = runner.run(start())
    yield booted
    runner.run(booted.close())
