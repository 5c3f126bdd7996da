"""Single statements that go past SQLAlchemy's Connection: that they do, and that nobody can tell."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from typing import Any, ClassVar

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.pq import TransactionStatus
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from flue_sqla import AttachmentRef, Flue, FlueSettings
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.dialects import implementation
from flue_sqla.direct import Answer, Direct
from flue_sqla.errors import ValueTooLargeError
from flue_sqla.wire import stream_path
from tests.databases.contract import Database
from tests.direct.at_once import compile_at_once
from tests.submissions.inputs import direct
from tests.submissions.test_round_trips import live_once
from tests.submissions.waiting import in_background, until_blocked

pytestmark = pytest.mark.databases("postgres")

PATH = stream_path("assistant", "agent-1")
BLOCKED = "datname = current_database() AND wait_event_type = 'Lock'"


class Recorded(psycopg.Cursor[Any]):
    """Keeps in which state of the connection each statement was sent."""

    sent: ClassVar[list[tuple[str, bool]]] = []

    def execute(self, query: Any, *arguments: Any, **options: Any) -> Any:
        self.sent.append((str(query), self.connection.autocommit))
        return super().execute(query, *arguments, **options)


@pytest.fixture
def engine(migrated: Database) -> Iterator[sa.Engine]:
    """A host's engine, with one connection only."""
    Recorded.sent.clear()
    made = sa.create_engine(
        migrated.url, connect_args={"cursor_factory": Recorded}, pool_size=1, max_overflow=0, pool_timeout=5, isolation_level="SERIALIZABLE"
    )
    yield made
    made.dispose()


@pytest.fixture
def hosted(engine: sa.Engine) -> Iterator[Flue]:
    """A Flue on it that sends everything directly."""
    with Flue(engine=engine) as made:
        yield made


@pytest.fixture
def no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes SQLAlchemy's own way fails."""

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a Connection was opened")

    monkeypatch.setattr(sa.Connection, "__init__", refused)


def driver_connection(engine: sa.Engine) -> psycopg.Connection[Any]:
    """The driver's connection of the pool's only one."""
    lent = engine.raw_connection()
    try:
        return lent.driver_connection  # type: ignore[return-value]
    finally:
        lent.close()


def test_a_whole_life_needs_no_connection_of_sqlalchemy(hosted: Flue, request: pytest.FixtureRequest) -> None:
    """From the second time on: the first time of a statement goes the ordinary way."""
    live_once(hosted, "first", "agent-1")
    request.getfixturevalue("no_connection")
    live_once(hosted, "second", "agent-2")


def test_each_statement_is_committed_by_itself_and_the_connection_comes_back_as_the_host_left_it(hosted: Flue, engine: sa.Engine) -> None:
    live_once(hosted, "first", "agent-1")
    Recorded.sent.clear()
    live_once(hosted, "second", "agent-2")
    assert [autocommit for _, autocommit in Recorded.sent] == [True] * 16
    driver = driver_connection(engine)
    assert not driver.autocommit
    assert driver.isolation_level is psycopg.IsolationLevel.SERIALIZABLE
    assert driver.info.transaction_status is TransactionStatus.IDLE


@pytest.mark.parametrize("kept", [{"isolation_level": "AUTOCOMMIT"}, {"connect_args": {"autocommit": True}}], ids=["engine", "driver"])
def test_a_host_that_keeps_its_connections_in_autocommit_finds_them_so(
    migrated: Database, kept: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_at_once(monkeypatch)
    engine = sa.create_engine(migrated.url, pool_size=1, max_overflow=0, **kept)
    with Flue(engine=engine) as flue:
        assert flue.submissions.get("one") is None
        assert driver_connection(engine).autocommit
    engine.dispose()


def test_both_ways_answer_alike(flue: Flue, monkeypatch: pytest.MonkeyPatch) -> None:
    live_once(flue, "sqlalchemy", "agent-1")
    ordinary = flue.submissions.get("sqlalchemy"), flue.conversations.read(PATH), flue.conversations.get_meta(PATH)
    compile_at_once(monkeypatch)
    assert (flue.submissions.get("sqlalchemy"), flue.conversations.read(PATH), flue.conversations.get_meta(PATH)) == ordinary
    assert flue.submissions.get("nobody") is None


def test_values_that_a_type_converts(flue: Flue, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_at_once(monkeypatch)
    ref = AttachmentRef.of("att", "image/png", b"\x00\xff")
    for _ in range(2):
        flue.attachments.put(PATH, ref, b"\x00\xff", "conv")
        stored = flue.attachments.get(PATH, "att", "conv")
        assert stored is not None
        assert stored.data == b"\x00\xff"


def test_a_listener_hears_every_statement(hosted: Flue, engine: sa.Engine) -> None:
    hosted.submissions.get("one")
    hosted.submissions.get("one")
    heard: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: heard.append(statement))
    hosted.submissions.get("one")
    assert len(heard) == 1


def test_a_listener_on_the_dialect_hears_every_statement(hosted: Flue, engine: sa.Engine) -> None:
    hosted.submissions.get("one")
    hosted.submissions.get("one")
    heard: list[str] = []
    event.listen(engine, "do_execute", lambda _cursor, statement, *_: heard.append(statement))
    hosted.submissions.get("one")
    assert len(heard) == 1


def test_the_log_has_every_statement(hosted: Flue, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> None:
    hosted.submissions.get("one")
    with caplog.at_level(logging.INFO, "sqlalchemy.engine"):
        hosted.submissions.get("one")
    assert "flue_agent_submissions" in caplog.text
    request.getfixturevalue("no_connection")
    hosted.submissions.get("one")


def test_a_refused_value_costs_no_connection(hosted: Flue, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_at_once(monkeypatch)
    driver = driver_connection(engine)
    with pytest.raises(ValueTooLargeError) as refused:
        hosted.conversations.create("".join(chr(0x4E00 + n * 7 % 20_000) for n in range(5_000)), "assistant", "agent-1")
    assert isinstance(refused.value.__cause__, DBAPIError)
    assert driver_connection(engine) is driver
    assert not driver.autocommit


def test_a_connection_that_died_in_the_pool_is_replaced(hosted: Flue, engine: sa.Engine, migrated: Database) -> None:
    for _ in range(2):
        assert hosted.submissions.get("one") is None
    dead = driver_connection(engine)
    migrated.admin_execute(f"SELECT pg_terminate_backend({dead.info.backend_pid}, 5000)")
    assert hosted.submissions.get("one") is None
    assert driver_connection(engine) is not dead


def test_a_connection_that_dies_under_a_statement(migrated: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second attempt goes the ordinary way, on another connection."""
    compile_at_once(monkeypatch)
    with Flue(migrated.url, settings=FlueSettings(notify=False)) as flue:
        flue.submissions.admit_direct(direct("one"))
        with sa.create_engine(migrated.url).begin() as lock:
            lock.execute(sa.text("SELECT 1 FROM flue_agent_submissions FOR UPDATE"))
            waiting = in_background(flue.submissions.mark_ready, "one")
            until_blocked(migrated, waiting)
            migrated.admin_execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {BLOCKED}")
        ready = waiting.result(20)
        assert ready is not None
        assert ready.canonical_ready_at is not None


def test_the_schema_holds(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_at_once(monkeypatch)
    with Flue(database.url, schema="apart") as flue:
        flue.boot()
        live_once(flue, "one", "agent-1")
        assert database.admin_execute("SELECT submission_id FROM apart.flue_agent_submissions") == [("one",)]


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_the_async_drivers(migrated: Database, driver: str, request: pytest.FixtureRequest) -> None:
    """psycopg's goes this way too; asyncpg's values are positions, and it goes SQLAlchemy's."""
    url = sa.make_url(migrated.async_url).set(drivername=f"postgresql+{driver}")
    async with AsyncFlue(url) as flue:
        for name in ("one", "two", "three"):
            if name == "two" and driver == "psycopg":
                request.getfixturevalue("no_connection")
            await flue.submissions.admit_direct(direct(name))
            assert await flue.submissions.mark_ready(name)
            stored = await flue.submissions.get(name)
            assert stored is not None
            assert stored.submission_id == name
        assert flue.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


class TestDirect:
    """The class by itself."""

    @pytest.fixture
    def way(self, engine: sa.Engine) -> Direct:
        return Direct(engine, implementation(engine.dialect), None)

    def test_a_statement_made_for_one_call_is_not_kept(self, way: Direct) -> None:
        assert way.execute(sa.select(sa.literal_column("1")), None) is None
        gc.collect()
        assert len(way._compiled) == 0

    def test_rows_and_counts(self, way: Direct) -> None:
        numbers = sa.select(sa.column("n", sa.Integer())).select_from(
            sa.func.generate_series(1, sa.bindparam("last"), type_=sa.Integer()).alias("n")
        )
        assert way.execute(numbers, {"last": 3}) is None
        answer = way.execute(numbers, {"last": 3})
        assert isinstance(answer, Answer)
        assert answer.rowcount == 3
        assert [row.n for row in answer] == [1, 2, 3]
        nothing = way.execute(numbers, {"last": 0})
        assert nothing is not None
        assert nothing.first() is None

    def test_what_goes_the_other_way(self, way: Direct) -> None:
        table = sa.table("flue_meta", sa.column("key", sa.Text()), sa.column("value", sa.Text()))
        for statement, parameters in (
            (sa.select(table.c.value).where(table.c.key.in_(sa.bindparam("keys", expanding=True))), {"keys": ["a"]}),
            (sa.select(sa.literal(b"1", sa.LargeBinary())), None),
            (sa.select(sa.cast(sa.literal_column("1"), sa.Numeric())), None),
            (sa.insert(table), [{"key": "a", "value": "b"}, {"key": "c", "value": "d"}]),
        ):
            for _ in range(3):
                assert way.execute(statement, parameters) is None

    def test_what_was_sent_can_be_built_upon(self, way: Direct) -> None:
        table = sa.table("flue_meta", sa.column("key", sa.Text()), sa.column("value", sa.Text()))
        touched = sa.update(table).values(value="x").where(table.c.key == "nothing")
        way.execute(touched, None)
        answer = way.execute(touched, None)
        assert answer is not None
        assert answer.rowcount == 0
        assert touched.returning(table.c.key).exported_columns.keys() == ["key"]
