"""What a caller is told who forgot ``flue.boot()``: that, and not how each driver words a table that is not there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from flue_sqla import Flue
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.errors import SchemaVersionError
from tests.databases.contract import Database

ASYNC_DRIVERS = {"postgres": ["psycopg", "asyncpg"], "mariadb": ["asyncmy"], "mysql": ["asyncmy"], "sqlite": ["aiosqlite"]}


def _in_a_unit(flue: Flue) -> None:
    with flue.begin() as unit:
        unit.submissions.get("sub_1")


def _in_a_host_s_session(flue: Flue) -> None:
    with Session(flue.engine) as session:
        flue.bind(session).submissions.get("sub_1")


CALLS: dict[str, Callable[[Flue], object]] = {
    "read": lambda flue: flue.submissions.get("sub_1"),
    "page": lambda flue: flue.runs.list(),
    "write": lambda flue: flue.dispatch("agent", id="one", message="hello"),
    "wait": lambda flue: flue.wait("sub_1", timeout=1),
    "status": lambda flue: flue.status(),
    "unit": _in_a_unit,
    "session": _in_a_host_s_session,
}


def _is_told(error: SchemaVersionError) -> None:
    assert error.meta["table"] in error.message
    assert "flue.boot()" in error.remedy
    assert "flue-sqla upgrade" in error.remedy


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_flue_that_was_never_booted(database: Database, call: Callable[[Flue], object]) -> None:
    with Flue(database.url) as flue:
        with pytest.raises(SchemaVersionError) as caught:
            call(flue)
        _is_told(caught.value)
        flue.boot()
        assert flue.submissions.get("sub_1") is None


ASYNC_CALLS: dict[str, Callable[[AsyncFlue], Awaitable[object]]] = {
    "read": lambda flue: flue.submissions.get("sub_1"),
    "write": lambda flue: flue.dispatch("agent", id="one", message="hello"),
}


@pytest.mark.parametrize("call", ASYNC_CALLS.values(), ids=ASYNC_CALLS)
async def test_the_awaited_face_says_the_same_on_every_driver(database: Database, call: Callable[[AsyncFlue], Awaitable[object]]) -> None:
    url = sa.make_url(database.async_url)
    for driver in ASYNC_DRIVERS[database.name]:
        async with AsyncFlue(url.set(drivername=f"{url.get_backend_name()}+{driver}")) as flue:
            with pytest.raises(SchemaVersionError) as caught:
                await call(flue)
            _is_told(caught.value)


@pytest.mark.databases("postgres")
def test_a_schema_without_tables_is_not_migrated_either(migrated: Database) -> None:
    with Flue(migrated.url, schema='other "place"') as flue, pytest.raises(SchemaVersionError, match="flue_agent_submissions"):
        flue.submissions.get("sub_1")


@pytest.mark.databases("sqlite")
def test_a_table_of_the_host_s_is_the_host_s_affair(migrated: Database) -> None:
    migrated.admin_execute("CREATE TRIGGER audit AFTER INSERT ON flue_runs BEGIN INSERT INTO flue_audit VALUES (1); END")
    with Flue(migrated.url) as flue, pytest.raises(DBAPIError, match="flue_audit"):
        flue.runs.create(run_id="run_1", workflow_name="w", started_at="2026-01-01T00:00:00.000Z")
