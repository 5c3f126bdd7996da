"""``boot()`` by mode, on engines of ours and of a host's."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool, QueuePool

from flue_sqla.dialects.engines import create_engine
from flue_sqla.errors import ConfigurationError, SchemaVersionError
from flue_sqla.schema.boot import boot
from flue_sqla.schema.migrate import upgrade
from flue_sqla.schema.verdict import VerdictKind, judge
from tests.databases.contract import Database
from tests.schema.catalogs import catalog, count_statements, create_flue_database, execute


@pytest.fixture
def engine(database: Database) -> Iterator[sa.Engine]:
    made = create_engine(database.url)
    yield made
    made.dispose()


@pytest.mark.parametrize("mode", ["auto", "verify"])
def test_one_statement_on_a_current_database(migrated: Database, mode: Any) -> None:
    engine = create_engine(migrated.url)
    with engine.connect():
        pass  # the driver's own questions at the first connection are not ours
    seen = count_statements(engine)
    assert boot(engine, mode=mode).kind is VerdictKind.CURRENT
    assert len(seen) == 1
    assert seen[0].startswith("SELECT")
    engine.dispose()


def test_judging_is_one_select_inside_a_transaction_too(migrated: Database) -> None:
    engine = create_engine(migrated.url)
    with engine.begin() as connection:
        seen = count_statements(engine)
        assert judge(connection).kind is VerdictKind.CURRENT
        assert len([text for text in seen if text.startswith("SELECT")]) == 1
        assert all(text.startswith(("SELECT", "SAVEPOINT", "RELEASE")) for text in seen)
        assert connection.in_transaction()
    engine.dispose()


def test_judging_leaves_a_transaction_usable_on_an_empty_database(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE orders (id INTEGER)")
        assert judge(connection).kind is VerdictKind.EMPTY
        connection.exec_driver_sql("INSERT INTO orders VALUES (1)")
    assert sa.inspect(engine).has_table("orders")


def test_no_alembic_on_a_current_database(migrated: Database) -> None:
    program = (
        "import sys; from flue_sqla.dialects.engines import create_engine; from flue_sqla.schema.boot import boot;"
        f"print(boot(create_engine({migrated.url!r})).kind.value, 'alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "current False\n"


def test_verify_changes_nothing(database: Database, engine: sa.Engine) -> None:
    before = catalog(database)
    with pytest.raises(SchemaVersionError) as caught:
        boot(engine, mode="verify")
    assert caught.value.meta["verdict"] == "empty"
    assert "flue-sqla upgrade" in caught.value.remedy
    assert catalog(database) == before


def test_verify_refuses_to_adopt(database: Database, engine: sa.Engine) -> None:
    create_flue_database(database)
    before = catalog(database)
    with pytest.raises(SchemaVersionError) as caught:
        boot(engine, mode="verify")
    assert caught.value.meta["verdict"] == "adoptable"
    assert catalog(database) == before


def test_off_does_not_even_connect() -> None:
    engine = sa.create_engine("postgresql+psycopg://127.0.0.1:1/nowhere")
    assert boot(engine, mode="off").kind is VerdictKind.UNJUDGED


def test_an_unknown_mode_is_refused_before_anything_else() -> None:
    with pytest.raises(ConfigurationError, match="sometimes"):
        boot(sa.create_engine("postgresql+psycopg://127.0.0.1:1/nowhere"), mode="sometimes")  # type: ignore[arg-type]


def test_every_boot_judges_afresh(database: Database, engine: sa.Engine) -> None:
    boot(engine)
    execute(
        database,
        "UPDATE flue_alembic_version SET version_num = 'flue_9999'",
        "UPDATE flue_meta SET value = 'flue_9999' WHERE value = 'flue_0002'",
    )
    with pytest.raises(SchemaVersionError):
        boot(engine)


async def test_boot_behind_the_greenlet_bridge(database: Database) -> None:
    engine = create_async_engine(database.async_url)
    async with engine.connect() as connection:
        kind = await connection.run_sync(lambda found: judge(found).kind)
    assert kind is VerdictKind.EMPTY
    from flue_sqla.asyncio import AsyncFlue

    flue = AsyncFlue(engine=engine)
    assert (await flue.boot()).previous is VerdictKind.EMPTY
    assert (await flue.boot()).previous is None
    await flue.close()
    await engine.dispose()


async def test_a_sync_boot_works_in_the_thread_of_a_running_loop(database: Database) -> None:
    engine = create_engine(database.url)
    assert boot(engine).kind is VerdictKind.CURRENT
    engine.dispose()


def test_threads_boot_at_once(database: Database, engine: sa.Engine) -> None:
    outcomes: list[Any] = []

    def work() -> None:
        try:
            outcomes.append(boot(engine).previous)
        except BaseException as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == sorted(map(str, [None, None, None, VerdictKind.EMPTY]))


@pytest.mark.databases("postgres", "mariadb")
@pytest.mark.parametrize("level", ["SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED", "AUTOCOMMIT"])
def test_a_host_engine_of_any_isolation(database: Database, level: Any) -> None:
    engine = sa.create_engine(database.url, isolation_level=level)
    assert boot(engine).previous is VerdictKind.EMPTY
    assert boot(engine).previous is None
    with engine.connect() as connection:
        assert connection.get_isolation_level() == (level if level != "AUTOCOMMIT" else connection.default_isolation_level)
    engine.dispose()


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("arguments", [{}, {"connect_args": {"isolation_level": None}}, {"connect_args": {"isolation_level": "EXCLUSIVE"}}])
def test_a_host_sqlite_engine_as_it_is(database: Database, arguments: dict[str, Any]) -> None:
    engine = sa.create_engine(database.url, **arguments)
    assert boot(engine).previous is VerdictKind.EMPTY
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 5000
    assert boot(engine).previous is None
    engine.dispose()


@pytest.mark.databases("sqlite")
@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has no autocommit attribute before Python 3.12")
@pytest.mark.parametrize("autocommit", [False, True])
def test_a_host_sqlite_driver_with_its_own_idea_of_transactions(database: Database, autocommit: bool) -> None:
    engine = sa.create_engine(database.url, connect_args={"autocommit": autocommit})
    assert boot(engine).previous is VerdictKind.EMPTY
    assert boot(engine).previous is None
    another = create_engine(database.url)
    assert boot(another).previous is None, "it was committed"
    another.dispose()
    engine.dispose()


def test_a_pool_of_one_connection_is_enough(database: Database) -> None:
    engine = sa.create_engine(database.url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=5)
    assert boot(engine).previous is VerdictKind.EMPTY
    assert boot(engine).previous is None
    engine.dispose()


def test_memory() -> None:
    engine = create_engine("sqlite:///:memory:")
    assert boot(engine).previous is VerdictKind.EMPTY
    assert boot(engine).previous is None
    engine.dispose()


def test_a_hosts_translate_map_moves_nothing_of_ours(database: Database) -> None:
    engine = sa.create_engine(database.url).execution_options(schema_translate_map={None: "elsewhere"})
    assert boot(engine).previous is VerdictKind.EMPTY
    assert boot(engine).previous is None
    assert "flue_agent_submissions" in catalog(database)
    engine.dispose()


def test_a_callers_connection_is_used_and_left_alone(database: Database, engine: sa.Engine) -> None:
    with engine.connect() as connection:
        assert upgrade(connection).previous is VerdictKind.EMPTY
        assert not connection.closed
        assert not connection.in_transaction()
        assert judge(connection).kind is VerdictKind.CURRENT


@pytest.mark.databases("postgres", "sqlite")
def test_a_callers_transaction_decides(database: Database) -> None:
    engine = create_engine(database.url)
    with engine.connect() as connection, connection.begin() as transaction:
        connection.exec_driver_sql("CREATE TABLE orders (id INTEGER)")
        assert upgrade(connection).previous is VerdictKind.EMPTY
        assert connection.in_transaction()
        transaction.rollback()
    engine.dispose()
    assert catalog(database) == {"views": []}


def test_a_host_that_pools_nothing(database: Database) -> None:
    engine = sa.create_engine(database.url, poolclass=NullPool)
    assert boot(engine).previous is VerdictKind.EMPTY
    assert boot(engine).previous is None
