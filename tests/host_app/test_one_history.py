"""A host that takes our revisions into its own history as the branch ``flue``: our env.py never runs, and there is one version table."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla.dialects.engines import create_engine
from flue_sqla.errors import SchemaVersionError
from flue_sqla.schema.boot import boot
from flue_sqla.schema.verdict import Verdict, VerdictKind
from tests.databases.contract import Database
from tests.host_app.projects import Project
from tests.migrations.scripts import run
from tests.schema.catalogs import catalog, count_statements, create_flue_database, create_stamp, execute, stamps

INI = "one_history.ini"


def _boot(database: Database, mode: Any = "auto", version_table: str | None = "alembic_version", **options: Any) -> Verdict:
    engine = create_engine(database.url)
    try:
        return boot(engine, mode=mode, version_table=version_table, **options)
    finally:
        engine.dispose()


def test_one_command_one_history_and_boot_in_every_mode(database: Database, project: Project) -> None:
    project.alembic("upgrade", "heads", ini=INI)
    found = catalog(database)
    assert found["rows of alembic_version"] == [("0002",), ("flue_0002",)]
    assert "flue_alembic_version" not in found
    assert stamps(database) == {"format_version": "1", "flue_sqla_min_revision": "flue_0002"}
    for mode, kind in (("auto", VerdictKind.CURRENT), ("verify", VerdictKind.CURRENT), ("off", VerdictKind.UNJUDGED)):
        assert _boot(database, mode).kind is kind
    assert catalog(database) == found, "boot added nothing, no version table of ours in particular"
    project.alembic("check", ini=INI)


def test_the_branch_makes_what_boot_makes(database: Database, project: Project) -> None:
    project.alembic("upgrade", "flue@head", ini=INI)
    own = database.sibling()
    _boot(own, version_table=None)
    branch, alone = catalog(database), catalog(own)
    for name in ("alembic_version", "rows of alembic_version"):
        del branch[name]
    for name in ("flue_alembic_version", "rows of flue_alembic_version"):
        del alone[name]
    assert branch == alone


def test_boot_on_a_current_branch_is_one_statement(database: Database, project: Project) -> None:
    project.alembic("upgrade", "heads", ini=INI)
    engine = create_engine(database.url)
    with engine.connect():
        pass
    seen = count_statements(engine)
    assert boot(engine, version_table="alembic_version").kind is VerdictKind.CURRENT
    assert len(seen) == 1
    engine.dispose()


@pytest.mark.parametrize("mode", ["auto", "verify"])
def test_boot_does_not_migrate_a_hosts_history(database: Database, project: Project, mode: str) -> None:
    project.alembic("upgrade", "shop@head", ini=INI)
    before = catalog(database)
    with pytest.raises(SchemaVersionError) as caught:
        _boot(database, mode)
    assert "alembic upgrade heads" in caught.value.remedy
    assert catalog(database) == before


def test_boot_that_was_not_told_of_the_hosts_table(database: Database, project: Project) -> None:
    project.alembic("upgrade", "heads", ini=INI)
    before = catalog(database)
    with pytest.raises(SchemaVersionError, match="another version table") as caught:
        _boot(database, version_table=None)
    assert "FLUE_VERSION_TABLE" in caught.value.remedy
    assert catalog(database) == before


def test_the_branch_adopts_a_flue_database(database: Database, project: Project) -> None:
    create_flue_database(database, stamp=("schema_version", "8"))
    project.alembic("upgrade", "heads", ini=INI)
    assert stamps(database) == {"format_version": "1", "flue_sqla_min_revision": "flue_0002", "flue_sqla_adopted": "yes"}
    assert _boot(database, "verify").kind is VerdictKind.CURRENT


def test_the_branch_refuses_what_boot_refuses(database: Database, project: Project) -> None:
    create_stamp(database, ("schema_version", "3"))
    result = project.fails("upgrade", "flue@head", ini=INI)
    assert "no in-place path exists yet" in result.stderr
    assert stamps(database) == {"schema_version": "3"}
    assert not {"flue_runs", "flue_agent_submissions"} & set(catalog(database))


def test_the_branch_is_taken_back_alone(database: Database, project: Project) -> None:
    project.alembic("upgrade", "heads", ini=INI)
    project.alembic("downgrade", "flue@base", ini=INI)
    found = catalog(database)
    assert found["rows of alembic_version"] == [("0002",)]
    assert [name for name in found if name.startswith("flue_")] == ["flue_meta"]
    project.alembic("upgrade", "heads", ini=INI)
    assert _boot(database, "verify").kind is VerdictKind.CURRENT


def test_the_branch_is_not_taken_back_while_work_is_unsettled(database: Database, project: Project) -> None:
    project.alembic("upgrade", "heads", ini=INI)
    execute(
        database,
        "INSERT INTO flue_agent_submissions (submission_id, session_key, kind, payload, status, accepted_at)"
        " VALUES ('s', 'k', 'direct', '{}', 'queued', 1)",
    )
    before = catalog(database)
    for destination in ("flue@base", "flue@-2"):
        assert "not settled" in project.fails("downgrade", destination, ini=INI).stderr
        assert catalog(database) == before, "refused before anything was dropped, where DDL commits too"
    project.alembic("downgrade", "flue@-1", ini=INI)
    assert ("flue_0001",) in catalog(database)["rows of alembic_version"]
    project.alembic("-x", "force=yes", "downgrade", "flue@base", ini=INI)


@pytest.mark.parametrize("reference", ["depends_on", "down_revision"])
def test_a_hosts_revision_that_stands_on_ours_is_told_and_mended(database: Database, project: Project, reference: str) -> None:
    """Alembic then records the host's revision alone, so nothing says how far ours have run."""
    project.alembic("upgrade", "heads", ini=INI)
    revision = project.folder / "migrations" / "versions" / "0003_totals.py"
    sound = {"revision": "0003", "down_revision": "0002", "depends_on": None}

    def write(values: dict[str, Any]) -> None:
        lines = [f"{name} = {value!r}\n" for name, value in values.items()]
        revision.write_text("".join(lines) + "def upgrade(): pass\ndef downgrade(): pass\n")

    write({**sound, reference: "flue_0002" if reference == "depends_on" else ("0002", "flue_0002")})
    project.alembic("upgrade", "heads", ini=INI)
    assert catalog(database)["rows of alembic_version"] == [("0003",)]
    with pytest.raises(SchemaVersionError, match="records no revision of ours") as caught:
        _boot(database, "verify")
    assert "depends_on" in caught.value.remedy
    write(sound)
    project.alembic("upgrade", "heads", ini=INI)
    assert _boot(database, "verify").kind is VerdictKind.CURRENT


def test_the_branch_as_a_script_stamps_first(database: Database, project: Project) -> None:
    script = project.alembic("upgrade", "heads", "--sql", ini=INI)
    created = [line.split()[-2] for line in script.splitlines() if line.startswith("CREATE TABLE") and "flue_" in line]
    assert created[0] == "flue_meta"
    run(database, script)
    assert _boot(database, "verify").kind is VerdictKind.CURRENT


@pytest.mark.databases("postgres")
def test_the_branch_in_a_schema_of_its_own(database: Database, project: Project) -> None:
    ini = project.folder / INI
    ini.write_text(f"{ini.read_text()}flue_schema = Agents\n")
    project.alembic("upgrade", "heads", ini=INI)
    assert "flue_agent_submissions" in catalog(database, "Agents")
    assert not [name for name in catalog(database) if name.startswith("flue_")]
    assert _boot(database, "verify", schema="Agents").kind is VerdictKind.CURRENT
    project.alembic("check", ini=INI)


@pytest.mark.databases("postgres")
def test_a_host_whose_version_table_has_a_schema(database: Database, project: Project) -> None:
    environment = project.folder / "migrations" / "env.py"
    text = environment.read_text().replace("OPTIONS = {", 'OPTIONS = {"version_table_schema": "history", "version_table": "versions", ')
    environment.write_text(text)
    execute(database, "CREATE SCHEMA history")
    project.alembic("upgrade", "heads", ini=INI)
    assert _boot(database, "verify", "versions", version_table_schema="history").kind is VerdictKind.CURRENT
    versions = sa.table("versions", sa.column("version_num"), schema="history")
    engine = create_engine(database.url)
    with engine.connect() as connection:
        assert sorted(connection.scalars(sa.select(versions.c.version_num))) == ["0002", "flue_0002"]
    engine.dispose()
