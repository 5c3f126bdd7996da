"""``upgrade --sql``: the script makes what boot makes, may run twice, and stops where the database is not what it is for."""

from __future__ import annotations

import pytest

from flue_sqla.dialects.engines import create_engine
from flue_sqla.errors import ConfigurationError
from flue_sqla.models import metadata_for
from flue_sqla.schema.boot import boot
from flue_sqla.schema.migrate import offline_sql, upgrade
from flue_sqla.schema.verdict import Verdict, VerdictKind
from tests.databases.contract import Database
from tests.migrations.commands import succeed
from tests.migrations.scripts import DIALECTS, refuse, run, statements
from tests.schema.catalogs import catalog, create_flue_database, create_stamp, execute, stamps

ALL = ["postgresql", "mysql", "mariadb", "sqlite"]


def _script(database: Database, *, adopt: bool = False) -> str:
    return offline_sql(DIALECTS[database.name], adopt=adopt)


def _boot(database: Database, mode: str = "auto") -> Verdict:
    engine = create_engine(database.url)
    try:
        return boot(engine, mode=mode)  # type: ignore[arg-type]
    finally:
        engine.dispose()


def test_the_script_makes_what_boot_makes_and_may_run_twice(database: Database) -> None:
    run(database, _script(database))
    assert _boot(database, "verify").kind is VerdictKind.CURRENT
    own = database.sibling()
    _boot(own)
    assert catalog(database) == catalog(own)
    run(database, _script(database))
    assert catalog(database) == catalog(own)


def test_the_script_finishes_an_interrupted_one(database: Database) -> None:
    whole = statements(_script(database))
    half = [text for text in whole[: len(whole) // 2] if text not in ("BEGIN", "COMMIT")]
    run(database, ";".join(half))
    run(database, _script(database))
    assert _boot(database, "verify").kind is VerdictKind.CURRENT


def test_the_script_refuses_a_flue_database_unless_it_adopts(database: Database) -> None:
    create_flue_database(database)
    before = catalog(database)
    refuse(database, _script(database))
    assert catalog(database) == before
    run(database, _script(database, adopt=True))
    assert _boot(database, "verify").kind is VerdictKind.CURRENT
    assert stamps(database)["flue_sqla_adopted"] == "yes"
    assert "No new upgrade operations" in succeed("check", url=database.url)


def test_the_adopting_script_renames_the_legacy_stamp(database: Database) -> None:
    create_flue_database(database, stamp=("schema_version", "8"))
    run(database, _script(database, adopt=True))
    assert stamps(database) == {"format_version": "1", "flue_sqla_adopted": "yes", "flue_sqla_min_revision": "flue_0002"}
    run(database, _script(database, adopt=True))
    assert _boot(database, "verify").kind is VerdictKind.CURRENT


@pytest.mark.parametrize("adopt", [False, True])
@pytest.mark.parametrize("stamp", [("schema_version", "3"), ("schema_version", "7"), ("format_version", "2")])
def test_the_script_refuses_what_boot_refuses(database: Database, stamp: tuple[str, str], adopt: bool) -> None:
    create_stamp(database, stamp)
    before = catalog(database)
    refuse(database, _script(database, adopt=adopt))
    assert catalog(database) == before


def test_the_script_refuses_tables_without_a_stamp(database: Database) -> None:
    execute(database, "CREATE TABLE flue_runs (id INTEGER)")
    refuse(database, _script(database))
    assert "flue_alembic_version" not in catalog(database)


@pytest.mark.parametrize("dialect", ALL)
def test_stamp_then_version_table_then_the_rest(dialect: str) -> None:
    created = [text.split()[5] for text in statements(offline_sql(dialect)) if text.startswith("CREATE TABLE IF NOT EXISTS")]
    assert created[:2] == ["flue_meta", "flue_alembic_version"]
    assert sorted(created) == sorted([*metadata_for(dialect).tables, "flue_alembic_version"])


@pytest.mark.parametrize("dialect", ALL)
def test_the_head_says_what_the_script_is_for(dialect: str) -> None:
    assert "EMPTY" in offline_sql(dialect).splitlines()[0]
    assert "Flue 2.x server created" in offline_sql(dialect, adopt=True).splitlines()[0]
    again = "may be run again" in offline_sql(dialect)
    assert again is (dialect != "mysql"), "MySQL has no CREATE INDEX IF NOT EXISTS, and its script says so"


@pytest.mark.parametrize("dialect", ALL)
def test_the_command_writes_the_same_script_without_a_server(dialect: str) -> None:
    urls = {"postgresql": "postgresql+psycopg://127.0.0.1:1/x", "sqlite": "sqlite://", "mysql": "mysql://h/x", "mariadb": "mariadb://h/x"}
    written = succeed("-x", f"url={urls[dialect]}", "upgrade", "head", "--sql")
    assert written == offline_sql(dialect)
    adopting = succeed("-x", f"url={urls[dialect]}", "-x", "adopt=yes", "upgrade", "head", "--sql")
    assert adopting == offline_sql(dialect, adopt=True)


def test_downgrade_as_a_script(migrated: Database) -> None:
    script = succeed("downgrade", "flue_0002:base", "--sql", url=migrated.url)
    run(migrated, script)
    assert _boot(migrated).previous is VerdictKind.BEHIND


def test_a_revision_or_dialect_that_does_not_exist() -> None:
    with pytest.raises(ConfigurationError, match="flue_7777"):
        upgrade(create_engine("sqlite:///:memory:"), "flue_7777")
    with pytest.raises(ConfigurationError, match="flue_7777"):
        offline_sql("sqlite", revision="flue_7777")
    with pytest.raises(ConfigurationError, match="oracle"):
        offline_sql("oracle")


def test_no_script_for_a_history_that_belongs_to_a_host() -> None:
    with pytest.raises(ConfigurationError) as caught:
        offline_sql("sqlite", version_table="alembic_version")
    assert "alembic upgrade heads --sql" in caught.value.remedy
