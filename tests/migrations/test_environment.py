"""``env.py`` called from Python: a caller's connection, a running loop, no ini file."""

from __future__ import annotations

import logging

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy.ext.asyncio import create_async_engine

from flue_sqla.dialects.ddl import schema_dialect
from flue_sqla.dialects.engines import create_engine
from flue_sqla.errors import PersistedFormatVersionError
from flue_sqla.schema.boot import boot
from flue_sqla.schema.scripts import alembic_config
from flue_sqla.schema.verdict import VerdictKind
from tests.databases.contract import Database
from tests.schema.catalogs import catalog, create_stamp


def test_without_an_ini_file(database: Database) -> None:
    config = alembic_config(url=database.url)
    command.upgrade(config, "head")
    command.check(config)
    engine = create_engine(database.url)
    assert boot(engine, mode="verify").kind is VerdictKind.CURRENT
    engine.dispose()


def test_the_callers_logging_is_left_alone(database: Database) -> None:
    before = logging.getLogger().handlers[:], logging.getLogger("alembic").level
    command.upgrade(alembic_config(url=database.url), "head")
    assert (logging.getLogger().handlers[:], logging.getLogger("alembic").level) == before


def test_a_callers_connection_stays_the_callers(database: Database) -> None:
    engine = create_engine(database.url)
    with engine.connect() as connection:
        command.upgrade(alembic_config(connection=connection), "head")
        assert not connection.closed
        assert connection.scalar(sa.select(sa.literal(1))) == 1
    assert boot(engine).previous is None
    engine.dispose()


@pytest.mark.databases("postgres", "sqlite")
def test_a_callers_transaction_is_not_committed(database: Database) -> None:
    engine = create_engine(database.url)
    with engine.connect() as connection, connection.begin() as transaction:
        command.upgrade(alembic_config(connection=connection), "head")
        transaction.rollback()
    engine.dispose()
    assert catalog(database) == {"views": []}


async def test_in_the_thread_of_a_running_loop(database: Database) -> None:
    command.upgrade(alembic_config(url=database.url), "head")
    assert "flue_runs" in catalog(database)


async def test_behind_the_greenlet_bridge(database: Database) -> None:
    engine = create_async_engine(database.async_url)
    async with engine.connect() as connection:
        await connection.run_sync(lambda found: command.upgrade(alembic_config(connection=found), "head"))
        await connection.run_sync(lambda found: command.check(alembic_config(connection=found)))
    await engine.dispose()
    assert "flue_runs" in catalog(database)


def test_a_refusal_is_raised_as_it_is(database: Database) -> None:
    create_stamp(database, ("schema_version", "3"))
    with pytest.raises(PersistedFormatVersionError):
        command.upgrade(alembic_config(url=database.url), "head")


@pytest.mark.databases("postgres")
def test_the_command_takes_the_same_lock_as_boot(database: Database) -> None:
    """An operator's upgrade and a booting replica wait for each other: both are the same function of the same lock."""
    engine = create_engine(database.url)
    ways = schema_dialect(engine.dialect)
    with engine.connect() as holder:
        holder.execution_options(**ways.begin_options)
        with holder.begin(), ways.lock(holder, None, 1_000), engine.connect() as connection, connection.begin():
            connection.exec_driver_sql("SET LOCAL statement_timeout = '300ms'")
            with pytest.raises(sa.exc.DBAPIError, match="statement timeout"):
                command.upgrade(alembic_config(connection=connection), "head")
    engine.dispose()
