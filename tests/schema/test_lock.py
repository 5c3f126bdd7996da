"""The wait for the migration lock is bounded and fails closed; it keeps nobody waiting who need not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from flue_sqla.dialects.ddl import schema_dialect
from flue_sqla.dialects.engines import create_engine
from flue_sqla.errors import MigrationLockTimeout
from flue_sqla.schema.boot import boot
from flue_sqla.schema.verdict import VerdictKind
from tests.databases.contract import Database
from tests.schema.catalogs import catalog, create_flue_database


@contextmanager
def _held(database: Database, schema: str | None = None) -> Iterator[None]:
    """Another session holds the migration lock."""
    engine = create_engine(database.url)
    ways = schema_dialect(engine.dialect)
    with engine.connect() as connection:
        connection.execution_options(**ways.begin_options)
        with connection.begin(), ways.lock(connection, schema, 5_000) as granted:
            assert granted
            yield
    engine.dispose()


def test_the_wait_ends(database: Database) -> None:
    engine = create_engine(database.url)
    before = catalog(database)
    with _held(database), pytest.raises(MigrationLockTimeout) as caught:
        boot(engine, lock_timeout_ms=300)
    assert caught.value.meta == {"timeoutMs": 300}
    assert caught.value.code == "migration_lock_timeout"
    assert catalog(database) == before
    assert boot(engine).previous is VerdictKind.EMPTY
    engine.dispose()


def test_a_current_database_waits_for_nobody(migrated: Database) -> None:
    engine = create_engine(migrated.url)
    with _held(migrated):
        assert boot(engine, lock_timeout_ms=1).kind is VerdictKind.CURRENT
    engine.dispose()


@pytest.mark.databases("postgres")
def test_two_schemas_do_not_block_each_other(database: Database) -> None:
    engine = create_engine(database.url)
    with _held(database, "one"):
        assert boot(engine, schema="two", lock_timeout_ms=1_000).previous is VerdictKind.EMPTY
    with _held(database, "public"), pytest.raises(MigrationLockTimeout):
        boot(engine, lock_timeout_ms=300)  # the default schema is the one called public
    engine.dispose()


@pytest.mark.databases("mariadb")
def test_two_databases_do_not_block_each_other(database: Database) -> None:
    engine = create_engine(database.sibling().url)
    with _held(database):
        assert boot(engine, lock_timeout_ms=1_000).previous is VerdictKind.EMPTY
    engine.dispose()


@pytest.mark.databases("postgres")
def test_a_table_lock_is_waited_for_and_tried_again(database: Database) -> None:
    """A migration that queues for a table lock would make everybody queue behind it: it gives up, and tries again."""
    create_flue_database(database)
    engine = create_engine(database.url)
    blocker = sa.create_engine(database.url).connect()
    blocker.exec_driver_sql("LOCK TABLE flue_agent_submissions IN ACCESS EXCLUSIVE MODE")
    with pytest.raises(MigrationLockTimeout):
        boot(engine, lock_timeout_ms=200)
    released = threading.Timer(0.5, blocker.rollback)
    released.start()
    assert boot(engine, lock_timeout_ms=20_000).previous is VerdictKind.ADOPTABLE
    released.join()
    blocker.close()
    engine.dispose()


@pytest.mark.databases("postgres")
def test_settings_of_the_session_are_put_back(database: Database) -> None:
    engine = create_engine(database.url)
    boot(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "0"
    engine.dispose()


@pytest.mark.databases("mariadb")
def test_settings_of_the_session_are_put_back_on_mysql(database: Database) -> None:
    engine = create_engine(database.url)
    with engine.connect() as connection:
        before = connection.exec_driver_sql("SELECT @@lock_wait_timeout").scalar_one()
    boot(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT @@lock_wait_timeout").scalar_one() == before
        held = connection.exec_driver_sql("SELECT IS_USED_LOCK(CONCAT('flue_sqla.', SHA1(DATABASE())))").scalar_one()
        assert held is None
    engine.dispose()
