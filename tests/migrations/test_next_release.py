"""Another revision, as the next release will have one: made from our template, run on this release's database with rows in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from flue_sqla.dialects.engines import create_engine
from flue_sqla.errors import SchemaVersionError
from flue_sqla.schema import migrate, offline, verdict
from flue_sqla.schema.boot import boot
from flue_sqla.schema.scripts import script_location
from flue_sqla.schema.verdict import VerdictKind
from tests.databases.contract import Database
from tests.schema.catalogs import catalog, execute, rows, stamps

NextRelease = Callable[[], AbstractContextManager[None]]

INSERT = (
    "INSERT INTO flue_agent_submissions (submission_id, session_key, kind, payload, status, accepted_at)"
    " VALUES ('s', 'k', 'direct', '{}', 'queued', 1)"
)


@pytest.fixture(params=["flue_0002", "flue_0003"], ids=["older may stay", "older may not stay"])
def floor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def next_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, floor: str) -> NextRelease:
    """A context in which this program is the next release."""
    scripts = tmp_path / "alembic"
    shutil.copytree(script_location(), scripts, ignore=shutil.ignore_patterns("__pycache__"))
    config = Config()
    config.set_main_option("script_location", str(scripts))
    config.set_main_option("path_separator", "os")
    script = command.revision(config, "a note on runs", rev_id="flue_0003", head="flue_0002")
    assert not isinstance(script, list)
    assert script is not None
    file = Path(script.path)
    text = file.read_text()
    up, down = (
        "op.add_column('flue_runs', sa.Column('note', sa.String(20)), schema=schema)",
        "op.drop_column('flue_runs', 'note', schema=schema)",
    )
    text = text.replace("raise NotImplementedError", up, 1).replace("raise NotImplementedError", down, 1)
    file.write_text(
        text.replace('min_revision = "flue_0003"', f'min_revision = "{floor}"').replace(
            "min_revision = 'flue_0003'", f"min_revision = '{floor}'"
        )
    )

    @contextmanager
    def become() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(migrate, "script_location", lambda: scripts)
            patch.setattr(offline, "script_location", lambda: scripts)
            patch.setattr(verdict, "REVISIONS", ("flue_0001", "flue_0002", "flue_0003"))
            patch.setattr(verdict, "HEAD", "flue_0003")
            yield

    return become


def test_a_rolling_deploy(migrated: Database, next_release: NextRelease, floor: str) -> None:
    execute(migrated, INSERT, "INSERT INTO flue_runs (run_id, workflow_name, status, started_at) VALUES ('r', 'w', 'active', 'now')")
    engine = create_engine(migrated.url)
    with next_release():
        with pytest.raises(SchemaVersionError, match="flue_0002"):
            boot(engine, mode="verify")
        found = boot(engine)
        assert (found.kind, found.previous, found.revision) == (VerdictKind.CURRENT, VerdictKind.BEHIND, "flue_0003")
        assert boot(engine).previous is None
    assert stamps(migrated)["flue_sqla_min_revision"] == floor
    kept = rows(migrated, sa.select(sa.column("run_id"), sa.column("note")).select_from(sa.table("flue_runs")))
    assert [tuple(row) for row in kept] == [("r", None)]
    assert len(rows(migrated, sa.select(sa.column("submission_id")).select_from(sa.table("flue_agent_submissions")))) == 1

    # The replicas that are still of this release:
    if floor == "flue_0002":
        assert boot(engine).kind is VerdictKind.AHEAD_COMPATIBLE
    else:
        with pytest.raises(SchemaVersionError, match="flue_0003"):
            boot(engine)
    engine.dispose()


def test_a_downgrade_to_this_release_restores_its_floor(migrated: Database, next_release: NextRelease) -> None:
    before = catalog(migrated)
    engine = create_engine(migrated.url)
    with next_release():
        boot(engine)
        migrate.downgrade(engine, "flue_0002")
    assert catalog(migrated) == before
    assert boot(engine).kind is VerdictKind.CURRENT
    engine.dispose()


def test_an_empty_database_goes_through_all(database: Database, next_release: NextRelease, floor: str) -> None:
    engine = create_engine(database.url)
    with next_release():
        assert boot(engine).revision == "flue_0003"
    engine.dispose()
    assert stamps(database)["flue_sqla_min_revision"] == floor


@pytest.mark.parametrize("dialect", ["postgresql", "mysql", "mariadb", "sqlite"])
def test_the_script_has_all(next_release: NextRelease, dialect: str) -> None:
    with next_release():
        script = migrate.offline_sql(dialect)
    assert script.index("Revision flue_0002") < script.index("ADD COLUMN note") < script.rindex("flue_0003")
    assert "UPDATE flue_alembic_version" in script
