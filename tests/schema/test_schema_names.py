"""``schema=…`` on PostgreSQL, with every name that needs care; on MySQL it is another database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla.dialects.engines import create_engine
from flue_sqla.errors import SchemaVersionError
from flue_sqla.schema.boot import boot
from flue_sqla.schema.migrate import current, downgrade, offline_sql
from flue_sqla.schema.verdict import Verdict, VerdictKind
from tests.databases.contract import Database
from tests.migrations.commands import succeed
from tests.schema.catalogs import catalog, execute, stamps

NAMES = ["agents", "Agents", 'we"ird', "100%", "a b", "%(x)s", "sch:ema", "select", "naïve", "x" * 63]


@pytest.mark.databases("postgres")
@pytest.mark.parametrize("name", NAMES)
def test_everything_of_ours_is_in_the_schema(database: Database, name: str) -> None:
    engine = create_engine(database.url)
    assert boot(engine, schema=name).previous is VerdictKind.EMPTY
    assert boot(engine, schema=name).previous is None
    assert catalog(database) == {"views": []}, "nothing in the default schema"
    assert {"flue_meta", "flue_alembic_version", "flue_agent_submissions", "flue_artifacts"} <= set(catalog(database, name))
    assert stamps(database, name)["format_version"] == "1"
    downgrade(engine, schema=name)
    assert current(engine, schema=name).kind is VerdictKind.BEHIND
    engine.dispose()


@pytest.mark.databases("postgres")
@pytest.mark.parametrize("name", ["Agents", 'we"ird', "100%"])
def test_the_commands_take_the_schema(database: Database, name: str) -> None:
    succeed("-x", f"schema={name}", "upgrade", "head", url=database.url)
    assert "No new upgrade operations" in succeed("-x", f"schema={name}", "check", url=database.url)
    assert "flue_0002" in succeed("-x", f"schema={name}", "current", url=database.url)
    succeed("-x", f"schema={name}", "downgrade", "base", url=database.url)
    assert catalog(database) == {"views": []}


@pytest.mark.databases("postgres")
@pytest.mark.parametrize("name", ["Agents", 'we"ird', "100%", "it's"])
def test_the_script_takes_the_schema(database: Database, name: str) -> None:
    script = offline_sql("postgresql", schema=name)
    _run_script(database, script)
    engine = create_engine(database.url)
    assert boot(engine, mode="verify", schema=name).kind is VerdictKind.CURRENT
    engine.dispose()
    assert catalog(database) == {"views": []}


@pytest.mark.databases("postgres")
def test_a_schema_that_exists_needs_no_right_to_create_one(database: Database) -> None:
    execute(database, "CREATE SCHEMA agents")
    database.admin_execute("DROP ROLE IF EXISTS flue_guest")
    database.admin_execute("CREATE ROLE flue_guest LOGIN")
    database.admin_execute("GRANT USAGE, CREATE ON SCHEMA agents TO flue_guest")
    engine = create_engine(sa.make_url(database.url).set(username="flue_guest"))
    assert boot(engine, schema="agents").previous is VerdictKind.EMPTY
    engine.dispose()


@pytest.mark.databases("postgres")
def test_a_search_path_moves_nothing(database: Database) -> None:
    execute(database, "CREATE SCHEMA other")
    url = sa.make_url(database.url).update_query_dict({"options": "-csearch_path=other"})
    engine = create_engine(url)
    boot(engine, schema="agents")
    engine.dispose()
    assert catalog(database, "other") == {"views": []}
    assert "flue_meta" in catalog(database, "agents")


@pytest.mark.databases("postgres")
def test_two_schemas_of_one_database_are_strangers(database: Database) -> None:
    engine = create_engine(database.url)
    boot(engine, schema="one")
    assert current(engine, schema="two").kind is VerdictKind.EMPTY
    assert current(engine).kind is VerdictKind.EMPTY
    boot(engine)
    boot(engine, schema="two")
    engine.dispose()
    one, two = catalog(database, "one"), catalog(database, "two")
    assert set(one) == set(two) == set(catalog(database))


@pytest.mark.databases("mariadb")
def test_another_database_of_the_server(database: Database) -> None:
    other = database.sibling()
    engine = create_engine(database.url)
    assert boot(engine, schema=other.schema_name).previous is VerdictKind.EMPTY
    assert boot(engine, schema=other.schema_name).previous is None
    engine.dispose()
    assert catalog(database) == {"views": []}
    assert "flue_meta" in catalog(other)


def _run_script(database: Database, script: str) -> None:
    engine = sa.create_engine(database.url)
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.autocommit = True
        driver.execute(script)
    engine.dispose()


def test_a_schema_that_is_missing_is_named(migrated: Database) -> None:
    """On PostgreSQL migrating creates it; elsewhere nothing here could, and the driver's words do not help."""
    engine = create_engine(migrated.url)
    for look in (lambda: boot(engine, mode="verify", schema="nosuch"), lambda: _require(current(engine, schema="nosuch"))):
        with pytest.raises(SchemaVersionError, match="schema 'nosuch'") as refused:
            look()
        assert refused.value.remedy
    if migrated.name.startswith("postgres"):
        assert boot(engine, schema="nosuch").compatible
    else:
        with pytest.raises(SchemaVersionError, match="There is no schema 'nosuch'") as refused:
            boot(engine, schema="nosuch")
        assert "FLUE_SCHEMA" in refused.value.remedy
    engine.dispose()


@pytest.mark.databases("sqlite", "mariadb")
def test_a_schema_is_found_whatever_its_letters_are(database: Database, tmp_path: Path) -> None:
    """SQLite's names of attached files know no case."""
    engine = create_engine(database.url)
    if database.name == "sqlite":
        sa.event.listen(engine, "connect", lambda driver, _: driver.execute(f"ATTACH DATABASE '{tmp_path / 'other.db'}' AS Other"))
        assert boot(engine, schema="other").compatible
    else:
        assert boot(engine, schema=database.schema_name).compatible
    engine.dispose()


def _require(verdict: Verdict) -> None:
    if not verdict.compatible:
        raise verdict.error()
