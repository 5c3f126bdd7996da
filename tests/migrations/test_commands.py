"""``alembic upgrade``, ``downgrade``, ``current``, ``check``, ``stamp`` from the checkout."""

from __future__ import annotations

from flue_sqla.dialects.engines import create_engine
from flue_sqla.schema.boot import boot
from flue_sqla.schema.verdict import VerdictKind
from tests.databases.contract import Database
from tests.migrations.commands import alembic, console_script, succeed
from tests.schema.catalogs import catalog, create_stamp, execute, stamps

NOTHING_NEW = "No new upgrade operations detected."
INSERT = (
    "INSERT INTO flue_agent_submissions (submission_id, session_key, kind, payload, status, accepted_at) VALUES ('s', 'k', 'direct', '{}', "
)


def test_the_life_of_a_database(database: Database) -> None:
    assert succeed("current", url=database.url) == ""
    assert catalog(database) == {"views": []}, "looking must not create anything"
    assert console_script("upgrade", "head", url=database.url).returncode == 0
    assert "flue_0002 (head)" in succeed("current", url=database.url)
    assert NOTHING_NEW in succeed("check", url=database.url)
    full = catalog(database)
    succeed("downgrade", "base", url=database.url)
    base = catalog(database)
    assert sorted(name for name in base if name.startswith("flue_")) == ["flue_alembic_version", "flue_meta"]
    assert base["rows of flue_alembic_version"] == []
    assert stamps(database) == {"format_version": "1"}
    succeed("upgrade", "head", url=database.url)
    assert catalog(database) == full


def test_the_url_is_given_with_x(database: Database) -> None:
    succeed("-x", f"url={database.url}", "upgrade", "head")
    assert NOTHING_NEW in succeed("-x", f"url={database.url}", "check")


def test_boot_and_the_command_make_the_same_database(database: Database) -> None:
    succeed("upgrade", "head", url=database.url)
    other = database.sibling()
    engine = create_engine(other.url)
    boot(engine)
    engine.dispose()
    assert catalog(other) == catalog(database)


def test_stamp_writes_both_stamps(database: Database) -> None:
    succeed("stamp", "head", url=database.url)
    assert stamps(database)["format_version"] == "1"
    assert catalog(database)["rows of flue_alembic_version"] == [("flue_0002",)]


def test_a_refusal_is_one_line_and_changes_nothing(database: Database) -> None:
    create_stamp(database, ("schema_version", "3"))
    before = catalog(database)
    for command in (["upgrade", "head"], ["downgrade", "base"], ["stamp", "head"]):
        result = alembic(*command, url=database.url)
        assert result.returncode != 0
        assert "persisted_format_version_unsupported" in result.stderr + result.stdout
        assert "Traceback" not in result.stderr
    assert catalog(database) == before


def test_an_unreachable_server_is_one_line_without_the_password() -> None:
    result = alembic("upgrade", "head", url="postgresql+psycopg://somebody:s3cret@127.0.0.1:1/flue")
    assert result.returncode != 0
    assert "database_unavailable" in result.stderr + result.stdout
    assert "s3cret" not in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_no_url_is_said_so() -> None:
    result = alembic("upgrade", "head")
    assert result.returncode != 0
    assert "DATABASE_URL" in result.stderr + result.stdout


def test_downgrade_refuses_while_work_is_unsettled(migrated: Database) -> None:
    execute(migrated, f"{INSERT}'queued', 1)")
    before = catalog(migrated)
    result = alembic("downgrade", "base", url=migrated.url)
    assert result.returncode != 0
    assert "not settled" in result.stderr + result.stdout
    assert catalog(migrated) == before
    succeed("-x", "force=yes", "downgrade", "base", url=migrated.url)


def test_one_revision_back_and_forth(migrated: Database) -> None:
    before = catalog(migrated)
    succeed("downgrade", "flue_0001", url=migrated.url)
    assert stamps(migrated)["flue_sqla_min_revision"] == "flue_0001", "its release may run here again"
    succeed("upgrade", "head", url=migrated.url)
    assert catalog(migrated) == before
    # As one that was interrupted leaves it where DDL commits: without the table, and not a revision lower.
    execute(migrated, "DROP TABLE flue_offloaded_attachments")
    succeed("downgrade", "-1", url=migrated.url)
    succeed("upgrade", "head", url=migrated.url)
    assert catalog(migrated) == before


def test_what_says_where_attachments_are_is_dropped_only_by_force(migrated: Database) -> None:
    execute(migrated, "INSERT INTO flue_offloaded_attachments (stream_path, attachment_id, artifact_id) VALUES ('p', 'a', 'art_1')")
    before = catalog(migrated)
    for destination in ("flue_0001", "base"):
        assert alembic("downgrade", destination, url=migrated.url).returncode != 0
        assert catalog(migrated) == before
    succeed("-x", "force=yes", "downgrade", "flue_0001", url=migrated.url)


def test_downgrade_does_not_mind_settled_work(migrated: Database) -> None:
    execute(migrated, f"{INSERT}'settled', 1)")
    succeed("downgrade", "base", url=migrated.url)


def test_base_is_behind(migrated: Database) -> None:
    succeed("downgrade", "base", url=migrated.url)
    engine = create_engine(migrated.url)
    verdict = boot(engine)
    engine.dispose()
    assert (verdict.kind, verdict.previous) == (VerdictKind.CURRENT, VerdictKind.BEHIND)
