"""A call of its own, a unit of work, and the host's transaction."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from flue_sqla import Flue
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.dialects.engines import create_engine
from flue_sqla.errors import ConfigurationError, InvalidInputError, MalformedRowError, SerializationConflict, SessionDeletionError
from flue_sqla.schema.migrate import current
from flue_sqla.schema.verdict import VerdictKind
from flue_sqla.signals import QUEUE_TOPIC
from tests.conversations.streams import append, owned_stream
from tests.databases.contract import Database
from tests.submissions.inputs import FAR_AWAY, admit_ready, direct, dispatch, run, status
from tests.submissions.waiting import in_background

orders = sa.Table("orders", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))


@pytest.fixture
def host(migrated: Database) -> sa.Engine:
    """An engine as a host makes it: the defaults of SQLAlchemy, and a table of its own."""
    engine = sa.create_engine(migrated.url)
    orders.metadata.create_all(engine)
    return engine


class _Refused(Exception):
    """The host changed its mind."""


def _admit_and_refuse(flue: Flue) -> None:
    with flue.begin() as unit:
        unit.submissions.admit_direct(direct("three"))
        raise _Refused


async def _admit_and_refuse_async(aflue: AsyncFlue) -> None:
    async with aflue.begin() as unit:
        await unit.submissions.admit_direct(direct("gone"))
        raise _Refused


def test_a_unit_commits_everything_or_nothing(flue: Flue) -> None:
    with flue.begin() as unit:
        unit.submissions.admit_direct(direct("one"))
        unit.submissions.admit_direct(direct("two"))
    with pytest.raises(_Refused):
        _admit_and_refuse(flue)
    assert flue.submissions.get("two") is not None
    assert flue.submissions.get("three") is None


def test_a_unit_is_refused_after_its_end(flue: Flue) -> None:
    with flue.begin() as unit:
        pass
    with pytest.raises(InvalidInputError, match="has ended"):
        unit.submissions.get("one")


def test_a_host_admits_in_the_same_transaction_as_its_own_row(host: sa.Engine) -> None:
    flue = Flue(engine=host)
    make = sessionmaker(host)
    with make() as session, session.begin():
        session.execute(sa.insert(orders).values(id=1))
        flue.bind(session).submissions.admit_direct(direct("kept"))
    with make() as session:
        session.execute(sa.insert(orders).values(id=2))
        flue.bind(session).submissions.admit_direct(direct("gone"))
        session.rollback()
    with host.connect() as connection:
        assert list(connection.execute(sa.select(orders.c.id)).scalars()) == [1]
    assert flue.submissions.get("kept") is not None
    assert flue.submissions.get("gone") is None


def test_a_host_connection_is_neither_committed_nor_closed(host: sa.Engine) -> None:
    flue = Flue(engine=host)
    with host.connect() as connection:
        transaction = connection.begin()
        flue.bind(connection).submissions.admit_direct(direct("one"))
        assert transaction.is_active
        assert not connection.closed
        transaction.rollback()
    assert flue.submissions.get("one") is None


@pytest.mark.parametrize("kind", ["session", "connection"])
def test_listeners_of_a_bound_unit_run_right_after_the_commit_and_never_after_a_rollback(host: sa.Engine, kind: str) -> None:
    flue = Flue(engine=host)
    seen: list[bool] = []
    flue.signals.subscribe(QUEUE_TOPIC, lambda: seen.append(flue.submissions.get("one") is not None))
    with Session(host) if kind == "session" else host.connect() as target:
        flue.bind(target).submissions.admit_direct(direct("one"))
        target.rollback()
        assert seen == []
        flue.bind(target).submissions.admit_direct(direct("one"))
        assert seen == []
        target.commit()
        assert seen == [True]
        target.execute(sa.insert(orders).values(id=1))
        target.commit()
        assert seen == [True]


def test_closing_a_flue_leaves_the_host_engine_alone(host: sa.Engine) -> None:
    with host.connect() as connection:
        Flue(engine=host).close()
        assert connection.execute(sa.select(sa.literal(1))).scalar() == 1
    assert host.pool.checkedout() == 0


@pytest.mark.databases("postgres")
def test_our_transactions_are_read_committed_whatever_the_engine_says(migrated: Database) -> None:
    engine = sa.create_engine(migrated.url, isolation_level="SERIALIZABLE")
    flue = Flue(engine=engine)
    host = run(flue, "host-1")
    admit_ready(flue, "child")
    with flue.begin() as unit:
        unit.submissions.claim_joinable(host, "assistant")
        settled = in_background(flue.submissions.complete, host)
    assert settled.result(20) is True
    assert status(flue, "child") == "queued"
    with engine.connect() as connection:
        assert connection.execute(sa.text("SHOW transaction_isolation")).scalar() == "serializable"
    engine.dispose()


@pytest.mark.databases("postgres")
def test_a_bound_serializable_session_gets_a_typed_error(migrated: Database, flue: Flue) -> None:
    engine = sa.create_engine(migrated.url, isolation_level="REPEATABLE READ")
    admit_ready(flue, "one")
    with Session(engine) as session:
        unit = flue.bind(session)
        assert unit.submissions.get("one") is not None
        flue.submissions.claim("one", attempt_id="a", owner_id="o", lease_expires_at=FAR_AWAY)
        with pytest.raises(SerializationConflict) as caught:
            unit.submissions.claim("one", attempt_id="b", owner_id="o", lease_expires_at=FAR_AWAY)
    assert caught.value.code == "serialization_conflict"
    engine.dispose()


@pytest.mark.databases("sqlite")
def test_a_bound_sqlite_session_that_read_before_another_wrote_gets_a_typed_error(migrated: Database, flue: Flue) -> None:
    engine = sa.create_engine(migrated.url)

    @sa.event.listens_for(engine, "connect")
    def _manual(connection: object, _record: object) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]

    @sa.event.listens_for(engine, "begin")
    def _deferred(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    with Session(engine) as session:
        unit = flue.bind(session)
        unit.submissions.get("one")
        flue.submissions.admit_direct(direct("elsewhere"))
        with pytest.raises(SerializationConflict):
            unit.submissions.admit_direct(direct("one"))
        session.rollback()
        unit.submissions.admit_direct(direct("one"))
        session.commit()
    assert flue.submissions.get("one") is not None
    engine.dispose()


@pytest.mark.databases("sqlite")
def test_writers_on_a_plain_host_engine_queue_instead_of_failing(host: sa.Engine) -> None:
    flue = Flue(engine=host)
    futures = [in_background(flue.submissions.admit_dispatch, dispatch(f"s{n}", instance=f"i{n}")) for n in range(16)]
    assert {future.result(60).kind for future in futures} == {"submission"}


@pytest.mark.databases("postgres")
def test_a_host_translate_map_does_not_move_our_tables(migrated: Database) -> None:
    engine = sa.create_engine(migrated.url).execution_options(schema_translate_map={None: "elsewhere"})
    flue = Flue(engine=engine)
    assert admit_ready(flue, "one").status == "queued"
    with Session(engine) as session:
        assert flue.bind(session).submissions.get("one") is not None


async def test_an_async_unit_and_an_async_host_session(aflue: AsyncFlue) -> None:

    async with aflue.begin() as unit:
        await unit.submissions.admit_direct(direct("unit"))
    with pytest.raises(_Refused):
        await _admit_and_refuse_async(aflue)
    async with AsyncSession(aflue.engine) as session:
        await aflue.bind(session).submissions.admit_direct(direct("rolled back"))
        await session.rollback()
        await aflue.bind(session).submissions.admit_direct(direct("bound"))
        await session.commit()
    found = [name for name in ("unit", "gone", "rolled back", "bound") if await aflue.submissions.get(name)]
    assert found == ["unit", "bound"]


def test_one_memory_database_serves_many_threads(memory_flue: Flue) -> None:
    futures = [in_background(memory_flue.submissions.admit_dispatch, dispatch(f"s{n}", instance=f"i{n}")) for n in range(8)]
    for future in futures:
        future.result(60)
    assert len(memory_flue.submissions.list_unready()) == 8


def test_the_engines_that_we_make_for_sqlite_are_durable(tmp_path: object) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/new.db")
    with engine.connect() as connection:
        pragmas = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "foreign_keys", "synchronous")}
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2}
    engine.dispose()


def test_a_sqlite_file_of_somebody_else_keeps_its_mode_until_it_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("CREATE TABLE app (id INTEGER)")

    def mode() -> str:
        with closing(sqlite3.connect(path)) as looking:
            return str(looking.execute("PRAGMA journal_mode").fetchone()[0])

    with Flue(f"sqlite:///{path}") as flue:
        assert current(flue.engine).kind is VerdictKind.EMPTY
        assert mode() == "delete"
        flue.boot()
    with Flue(f"sqlite:///{path}") as flue:
        flue.submissions.admit_direct(direct("one"))
    assert mode() == "wal"


@pytest.mark.databases("mariadb")
def test_a_bound_session_with_an_older_snapshot_still_sees_what_its_lock_waited_for(migrated: Database, flue: Flue) -> None:
    """MySQL's default isolation: a plain SELECT shows what was there at the transaction's first one."""
    producer = owned_stream(flue)
    host = Flue(engine=sa.create_engine(migrated.url))
    lane = 'agent-session:["assistant","deleted","default","default"]'
    with Session(host.engine) as session:
        assert not host.bind(session).submissions.has_unsettled()
        flue.submissions.admit_direct(direct("one"))
        offset = append(flue, producer)
        migrated.admin_execute("INSERT INTO flue_agent_session_deletions (session_key, started_at) VALUES (%s, 1)", [lane])
        migrated.admin_execute("INSERT INTO flue_agent_dispatch_receipts (dispatch_id, accepted_at) VALUES ('pruned', 1)")
        unit = host.bind(session)
        assert unit.submissions.admit_direct(direct("one")).submission_id == "one"
        assert unit.submissions.admit_dispatch(dispatch("one")).kind == "conflict"
        assert unit.submissions.admit_dispatch(dispatch("pruned")).kind == "retained_receipt"
        with pytest.raises(SessionDeletionError):
            unit.submissions.admit_direct(direct("two", instance="deleted"))
        assert append(unit, producer) == offset


def test_a_malformed_head_stays_queued_when_the_unit_that_met_it_commits(flue: Flue, migrated: Database) -> None:
    admit_ready(flue, "one")
    migrated.admin_execute("UPDATE flue_agent_submissions SET payload = '[]', max_attempts = 3")
    with flue.begin() as unit, pytest.raises(MalformedRowError):
        unit.submissions.claim("one", attempt_id="attempt-1", owner_id="owner", lease_expires_at=FAR_AWAY)
    columns = "status, attempt_count, max_attempts, attempt_id, timeout_at"
    assert migrated.admin_execute(f"SELECT {columns} FROM flue_agent_submissions") == [("queued", 0, 3, None, 0)]


@pytest.mark.databases("sqlite")
def test_a_write_lock_that_is_not_to_be_had_is_a_typed_error(flue: Flue, migrated: Database) -> None:
    other = Flue(migrated.url)
    sa.event.listen(other.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=1"))
    with flue.begin():
        with pytest.raises(SerializationConflict), other.begin():
            pass
        with pytest.raises(SerializationConflict):
            other.submissions.admit_direct(direct("one"))


@pytest.mark.databases("postgres")
def test_what_a_block_raised_is_not_hidden_by_a_rollback_that_failed(flue: Flue, migrated: Database) -> None:
    def end_the_connection_and_refuse() -> None:
        with flue.begin() as unit:
            unit.submissions.admit_direct(direct("one"))
            migrated.admin_execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
            raise _Refused

    with pytest.raises(_Refused):
        end_the_connection_and_refuse()
    assert flue.submissions.get("one") is None


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("setting", [{"isolation_level": None}, {"autocommit": True}], ids=str)
def test_a_driver_that_commits_each_statement_is_refused_before_anything_is_written(migrated: Database, setting: dict[str, Any]) -> None:
    if "autocommit" in setting and sys.version_info < (3, 12):
        pytest.skip("sqlite3 has this mode from Python 3.12 on")
    flue = Flue(engine=sa.create_engine(migrated.url, connect_args=setting))
    with pytest.raises(ConfigurationError, match="commits each statement"):
        flue.submissions.admit_direct(direct("one"))
    with pytest.raises(ConfigurationError), flue.begin():
        pass
    assert not flue.submissions.has_unsettled()


@pytest.mark.databases("sqlite")
def test_a_host_engine_in_the_drivers_transaction_mode(migrated: Database) -> None:
    """``autocommit=False``, which Python 3.12 brought and recommends; the legacy mode before."""
    setting: dict[str, Any] = {"autocommit": False} if sys.version_info >= (3, 12) else {}
    flue = Flue(engine=sa.create_engine(migrated.url, connect_args=setting))
    with flue.begin() as unit:
        unit.submissions.admit_direct(direct("one"))
    with pytest.raises(_Refused):
        _admit_and_refuse(flue)
    with Session(flue.engine) as session:
        flue.bind(session).submissions.admit_direct(direct("two"))
        session.commit()
    assert [submission.submission_id for submission in flue.submissions.list_unready()] == ["one", "two"]


def test_an_engine_or_session_of_the_other_face_is_refused_in_words() -> None:
    engine, async_engine = sa.create_engine("sqlite://"), create_async_engine("sqlite+aiosqlite://")
    with pytest.raises(ConfigurationError, match="found AsyncEngine"):
        Flue(engine=async_engine)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="found Engine"):
        AsyncFlue(engine=engine)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="found Engine") as caught:
        Flue(engine)  # type: ignore[arg-type]
    assert "engine=" in caught.value.remedy
    flue = Flue(engine=engine)
    for target in (AsyncSession(async_engine), engine):
        with pytest.raises(ConfigurationError, match="binds a Session or a Connection"):
            flue.bind(target)  # type: ignore[arg-type]
