"""A database whose character set does not hold every text is refused before anything is created in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from flue_sqla import Flue
from flue_sqla.dialects.engines import create_engine
from flue_sqla.errors import SchemaVersionError
from flue_sqla.schema.boot import boot
from flue_sqla.schema.migrate import upgrade
from flue_sqla.schema.verdict import VerdictKind
from tests.databases.contract import Database
from tests.schema.catalogs import create_flue_database


@pytest.fixture
def engine(database: Database) -> Iterator[sa.Engine]:
    made = create_engine(database.url)
    yield made
    made.dispose()


@pytest.mark.databases("mariadb")
@pytest.mark.parametrize("charset", ["latin1", "utf8mb3"])
def test_a_database_of_another_character_set_is_refused(database: Database, engine: sa.Engine, charset: str) -> None:
    database.admin_execute(f"ALTER DATABASE `{database.schema_name}` CHARACTER SET {charset}")
    for migrate in (boot, upgrade):
        with pytest.raises(SchemaVersionError, match="does not hold every text") as refusal:
            migrate(engine)
        assert refusal.value.meta["encodings"] == {f"database {database.schema_name}": charset}
        assert "utf8mb4" in refusal.value.remedy
    assert sa.inspect(engine).get_table_names() == []
    database.admin_execute(f"ALTER DATABASE `{database.schema_name}` CHARACTER SET utf8mb4")
    assert boot(engine).kind is VerdictKind.CURRENT


@pytest.mark.databases("mariadb")
@pytest.mark.parametrize("charset", ["latin1", "ascii"])
def test_a_column_that_another_server_made_is_named(database: Database, engine: sa.Engine, charset: str) -> None:
    create_flue_database(database)
    database.admin_execute(f"ALTER TABLE flue_agent_submissions MODIFY payload LONGTEXT CHARACTER SET {charset} NOT NULL")
    with pytest.raises(SchemaVersionError) as refusal:
        boot(engine)
    assert refusal.value.meta["encodings"] == {"flue_agent_submissions.payload": charset}


@pytest.mark.databases("mariadb")
def test_a_hosts_own_tables_are_its_own_business(database: Database, engine: sa.Engine) -> None:
    create_flue_database(database)
    database.admin_execute("CREATE TABLE orders (note LONGTEXT CHARACTER SET latin1)")
    database.admin_execute("CREATE TABLE flue_customers (note LONGTEXT CHARACTER SET latin1)")
    assert boot(engine).kind is VerdictKind.CURRENT


@pytest.mark.databases("mariadb")
def test_the_schema_that_was_named_is_the_one_that_counts(database: Database) -> None:
    elsewhere = database.sibling()
    database.admin_execute(f"ALTER DATABASE `{database.schema_name}` CHARACTER SET latin1")
    with Flue(database.url, schema=elsewhere.schema_name) as flue:
        assert flue.boot().kind is VerdictKind.CURRENT
    elsewhere = database.sibling()
    elsewhere.admin_execute(f"ALTER DATABASE `{elsewhere.schema_name}` CHARACTER SET latin1")
    with Flue(database.url, schema=elsewhere.schema_name) as flue, pytest.raises(SchemaVersionError, match=elsewhere.schema_name):
        flue.boot()


@pytest.mark.databases("postgres")
def test_a_cluster_of_another_encoding_is_refused(database: Database) -> None:
    name = f"{database.schema_name}_latin1"
    database.admin_execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        engine = create_engine(sa.make_url(database.url).set(database=name))
        with pytest.raises(SchemaVersionError, match="LATIN1") as refusal:
            boot(engine)
        assert "UTF8" in refusal.value.remedy
        assert sa.inspect(engine).get_table_names() == []
        engine.dispose()
    finally:
        database.admin_execute(f"DROP DATABASE {name}")
