"""Databases that a Flue 2.x server created, by the specification's DDL verbatim, become ours without losing or changing anything."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flue_sqla.dialects.engines import create_engine
from flue_sqla.errors import SchemaVersionError
from flue_sqla.schema.boot import boot
from flue_sqla.schema.migrate import downgrade
from flue_sqla.schema.verdict import Verdict, VerdictKind, judge
from tests.databases.contract import Database
from tests.migrations.commands import succeed
from tests.schema import spec_ddl
from tests.schema.catalogs import catalog, create_flue_database, create_stamp, execute, rows, stamps

NOTHING_NEW = "No new upgrade operations detected."


def _boot(database: Database) -> Verdict:
    engine = create_engine(database.url)
    try:
        return boot(engine)
    finally:
        engine.dispose()


def _judge(database: Database) -> VerdictKind:
    engine = create_engine(database.url)
    with engine.connect() as connection:
        kind = judge(connection).kind
    engine.dispose()
    return kind


@pytest.mark.parametrize("stamp", [("format_version", "1"), ("schema_version", "8")])
def test_check_finds_nothing_new_after_adoption(database: Database, stamp: tuple[str, str]) -> None:
    create_flue_database(database, stamp=stamp)
    assert _boot(database).kind is VerdictKind.CURRENT
    assert NOTHING_NEW in succeed("check", url=database.url)
    assert stamps(database)["flue_sqla_adopted"] == "yes"


def test_adoption_keeps_rows_and_columns(database: Database) -> None:
    create_flue_database(database)
    execute(
        database,
        "INSERT INTO flue_agent_submissions (submission_id, session_key, kind, payload, status, accepted_at)"
        " VALUES ('s', 'k', 'direct', '{}', 'queued', 1)",
        "INSERT INTO flue_conversation_streams (path, identity_json, incarnation) VALUES ('p', '{}', 'i')",
    )
    before = catalog(database)
    assert _judge(database) is VerdictKind.ADOPTABLE
    _boot(database)
    after = catalog(database)
    for table in before:
        if table.startswith("flue_"):
            assert after[table]["columns"] == before[table]["columns"]
    columns = [sa.column(name) for name in ("sequence", "submission_id", "max_attempts")]
    assert [tuple(row) for row in rows(database, sa.select(*columns).select_from(sa.table("flue_agent_submissions")))] == [(1, "s", 10)]


@pytest.mark.databases("postgres", "mariadb")
def test_adopted_and_created_differ_in_nothing(database: Database) -> None:
    """On SQLite the keys of the specification's DDL have no names, which is all that differs there."""
    create_flue_database(database)
    _boot(database)
    own = database.sibling()
    _boot(own)
    adopted, created = catalog(database), catalog(own)
    adopted.pop("rows of flue_meta"), created.pop("rows of flue_meta")
    assert adopted == created


@pytest.mark.databases("sqlite", "mariadb")
def test_what_a_flue_server_left_unfinished_is_finished_and_remembered(database: Database) -> None:
    """Spec §2.2: where DDL commits, a server that dies leaves a stamp and some of its tables."""
    create_stamp(database, ("format_version", "1"))
    execute(database, *spec_ddl.statements(spec_ddl.TABLES[database.name])[:2])
    assert _judge(database) is VerdictKind.PARTIAL
    assert _boot(database).previous is VerdictKind.PARTIAL
    assert stamps(database)["flue_sqla_adopted"] == "yes"
    assert NOTHING_NEW in succeed("check", url=database.url)


def test_an_adopted_database_is_not_downgraded(database: Database) -> None:
    create_flue_database(database)
    _boot(database)
    before = catalog(database)
    engine = create_engine(database.url)
    with pytest.raises(SchemaVersionError, match="Flue server"):
        downgrade(engine)
    assert catalog(database) == before
    downgrade(engine, force=True)
    engine.dispose()
    assert stamps(database) == {"format_version": "1"}


def test_tables_of_another_shape_are_refused_with_every_problem(database: Database) -> None:
    """Spec §5.3: the stamp is right, but the submissions table has the shape of G1."""
    create_stamp(database, ("format_version", "1"))
    script = spec_ddl.TABLES[database.name]
    for column in ("max_attempts INTEGER NOT NULL DEFAULT 10,", "max_attempts INT NOT NULL DEFAULT 10,"):
        script = script.replace(f"  {column}\n", "")
    script = script.replace("digest TEXT NOT NULL", "digest INTEGER NOT NULL")
    script = script.replace("digest VARCHAR(128)", "digest VARCHAR(12)")
    execute(database, *spec_ddl.statements(script))
    before = catalog(database)
    with pytest.raises(SchemaVersionError) as caught:
        _boot(database)
    problems = caught.value.meta["problems"]
    assert "flue_agent_submissions.max_attempts is missing" in problems
    assert any(problem.startswith("flue_attachments.digest ") for problem in problems)
    assert len(problems) == 2
    after = catalog(database)
    assert {name: after[name] for name in spec_ddl_tables(before)} == {name: before[name] for name in spec_ddl_tables(before)}
    assert not {"flue_runs", "flue_sessions"} & set(after), "nothing is created before everything was verified"


def spec_ddl_tables(found: dict[str, object]) -> set[str]:
    return {name for name in found if name.startswith("flue_") and name != "flue_meta"}


def test_our_columns_are_added_to_tables_of_an_older_writer(database: Database) -> None:
    """Spec §2.5: a database with both stamps has G1's sessions, which lack our nullable columns."""
    create_flue_database(database)
    text, name = ("LONGTEXT", "VARCHAR(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin") if database.name == "mariadb" else ("TEXT", "TEXT")
    execute(
        database,
        f"CREATE TABLE flue_sessions (id {name} NOT NULL PRIMARY KEY, data {text} NOT NULL)",
        "INSERT INTO flue_sessions (id, data) VALUES ('a', '{}')",
    )
    _boot(database)
    columns = [sa.column(name) for name in ("id", "data", "leaf_id", "entry_count")]
    assert [tuple(row) for row in rows(database, sa.select(*columns).select_from(sa.table("flue_sessions")))] == [("a", "{}", None, None)]
    assert NOTHING_NEW in succeed("check", url=database.url)


def test_what_a_host_added_stays(database: Database) -> None:
    create_flue_database(database)
    execute(
        database,
        "ALTER TABLE flue_conversation_streams ADD COLUMN note VARCHAR(10)",
        "CREATE INDEX theirs ON flue_conversation_streams (note)",
        "CREATE TABLE flue_extra (id INTEGER)",
        "CREATE TABLE orders (id INTEGER)",
    )
    _boot(database)
    assert NOTHING_NEW in succeed("check", url=database.url)
    assert {"flue_extra", "orders"} <= set(catalog(database))


@pytest.mark.databases("sqlite")
def test_the_libsql_layout_is_refused(database: Database) -> None:
    create_stamp(database, ("format_version", "1"))
    execute(database, *spec_ddl.statements(spec_ddl.LIBSQL))
    before = catalog(database)
    assert _judge(database) is VerdictKind.REFUSED_LAYOUT
    with pytest.raises(SchemaVersionError, match="libsql"):
        _boot(database)
    assert catalog(database) == before
