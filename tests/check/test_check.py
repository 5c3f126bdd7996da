"""``flue-sqla check``: what it finds, what it says, how it exits, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla.checks import CheckReport, Status, run_checks
from flue_sqla.cli.main import run
from flue_sqla.clock import SystemClock
from flue_sqla.settings import FlueSettings
from tests.databases.contract import Database
from tests.databases.processes import free_port
from tests.databases.stores import S3Store
from tests.snapshot.samples import physical_rows

STEPS = ["settings", "driver", "database", "clock", "schema", "rights", "store_write", "store_read", "store_delete"]
PROFILES = {"sqlite": "sqlite", "postgres": "postgres", "mariadb": "mysql", "mysql": "mysql", "postgres-icu": "postgres"}


def settings(database: Database, folder: Path, **more: Any) -> FlueSettings:
    return FlueSettings(**{"database_url": database.url, "artifacts": str(folder / "store"), **more})


def outcome(report: CheckReport) -> dict[str, str]:
    return {step.name: step.status.value for step in report.steps}


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = run(["check", "--json", *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_all_is_well_and_nothing_is_left(migrated: Database, tmp_path: Path) -> None:
    engine = sa.create_engine(migrated.url)
    before = physical_rows(engine)
    report = run_checks(settings(migrated, tmp_path))
    assert [step.name for step in report.steps] == STEPS
    assert {step.status for step in report.steps} == {Status.OK}
    assert (report.ok, report.exit_code) == (True, 0)
    assert report.storage_backend == f"{PROFILES[migrated.name]}-fs"
    assert physical_rows(engine) == before
    assert os.listdir(tmp_path) == []
    engine.dispose()


def test_a_store_that_is_in_use_keeps_its_folders(migrated: Database, tmp_path: Path) -> None:
    (tmp_path / "store" / "default").mkdir(parents=True)
    assert run_checks(settings(migrated, tmp_path)).ok
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["store", "store/default"]


def test_the_document_has_stable_keys(migrated: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("FLUE_ARTIFACTS", str(tmp_path / "store"))
    code, document = command(capsys, "--url", migrated.url)
    assert code == 0
    assert list(document) == [
        "ok",
        "exitCode",
        "storageBackend",
        "database",
        "artifacts",
        "verdict",
        "schemaRevision",
        "supportedRevision",
        "formatVersion",
        "features",
        "steps",
    ]
    assert set(document["steps"][0]) == {"name", "area", "status", "durationMs", "detail", "remedy", "code"}
    assert (document["verdict"], document["formatVersion"]) == ("current", "1")
    assert document["schemaRevision"] == document["supportedRevision"]
    assert ("notifications" in document["features"]) == (migrated.name.startswith("postgres"))


def test_people_get_a_table(migrated: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("FLUE_ARTIFACTS", str(tmp_path / "store"))
    assert run(["check", "--url", migrated.url]) == 0
    out = capsys.readouterr().out
    assert all(step in out for step in STEPS)


def test_attachments_that_a_flue_server_could_not_read(migrated: Database, tmp_path: Path) -> None:
    offloading = settings(migrated, tmp_path, offload_attachments_above=1_000_000)
    assert outcome(run_checks(offloading))["schema"] == "ok"
    keys = "`key`" if migrated.name in ("mariadb", "mysql") else "key"
    migrated.admin_execute(f"INSERT INTO flue_meta ({keys}, value) VALUES ('flue_sqla_adopted', 'yes')")
    report = run_checks(offloading)
    (schema,) = (step for step in report.steps if step.name == "schema")
    assert schema.status is Status.WARNING
    assert "FLUE_OFFLOAD_ATTACHMENTS_ABOVE" in schema.remedy
    assert (outcome(report)["rights"], report.exit_code) == ("ok", 0)
    assert outcome(run_checks(settings(migrated, tmp_path)))["schema"] == "ok"


# -- configuration: 2 ----------------------------------------------------------------------------------------------------------------


def test_wrong_settings(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUE_S3_FORCE_PATH_STYLE", "maybe")
    monkeypatch.setenv("FLUE_MIGRATE", "sometimes")
    code, document = command(capsys)
    assert (code, document["exitCode"]) == (2, 2)
    (failed,) = [step for step in document["steps"] if step["status"] == "failed"]
    assert failed["code"] == "configuration_invalid"
    assert "FLUE_S3_FORCE_PATH_STYLE" in failed["detail"]
    assert "FLUE_MIGRATE" in failed["detail"]


def test_a_driver_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pymysql", None)
    report = run_checks(FlueSettings(database_url="mysql+pymysql://u@127.0.0.1/x", artifacts=str(tmp_path / "store")))
    assert report.exit_code == 2
    assert outcome(report)["driver"] == "failed"
    assert outcome(report)["store_write"] == "ok"


# -- database: 3 ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "mysql+pymysql"])
def test_a_server_that_is_not_there(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}://somebody:hidden-word@127.0.0.1:{free_port()}/nowhere"
    report = run_checks(FlueSettings(database_url=url, artifacts=str(tmp_path / "store")))
    assert report.exit_code == 3
    assert outcome(report) | {"store_write": "ok"} == outcome(report)
    assert [step.name for step in report.steps if step.status is Status.SKIPPED] == ["clock", "schema", "rights"]
    assert "hidden-word" not in json.dumps(report.to_wire())


@pytest.mark.databases("postgres")
def test_a_role_that_may_only_read(migrated: Database, tmp_path: Path) -> None:
    role = f"reader_{migrated.schema_name}"
    migrated.admin_execute(f"CREATE ROLE {role} LOGIN")
    migrated.admin_execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    url = sa.make_url(migrated.url).set(username=role).render_as_string()
    report = run_checks(settings(migrated, tmp_path, database_url=url))
    (failed,) = [step for step in report.steps if step.status is Status.FAILED]
    assert (report.exit_code, failed.name, failed.code) == (3, "rights", "rights_missing")
    assert "INSERT on flue_" in failed.detail
    migrated.admin_execute(f"DROP OWNED BY {role}")
    migrated.admin_execute(f"DROP ROLE {role}")


@pytest.mark.databases("postgres")
def test_the_application_role_of_the_documentation_suffices(migrated: Database, tmp_path: Path) -> None:
    from flue_sqla.schema import grants

    app, migrator = f"app_{migrated.schema_name}", f"migrator_{migrated.schema_name}"
    for role in (app, migrator):
        migrated.admin_execute(f"CREATE ROLE {role} LOGIN")
    engine = sa.create_engine(migrated.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(grants.sql("postgresql", None, app, migrator).replace("%", "%%"))
    engine.dispose()
    url = sa.make_url(migrated.url).set(username=app).render_as_string()
    assert run_checks(settings(migrated, tmp_path, database_url=url)).ok
    for role in (app, migrator):
        migrated.admin_execute(f"DROP OWNED BY {role}")
        migrated.admin_execute(f"DROP ROLE {role}")


@pytest.mark.databases("sqlite")
def test_a_file_that_is_read_only(migrated: Database, tmp_path: Path) -> None:
    path = sa.make_url(migrated.url).database
    report = run_checks(settings(migrated, tmp_path, database_url=f"sqlite:///file:{path}?mode=ro&uri=true"))
    assert (report.exit_code, outcome(report)["rights"]) == (3, "failed")


@pytest.mark.databases("postgres", "mariadb")
@pytest.mark.parametrize(("ahead_ms", "status", "code"), [(0, "ok", 0), (5_000, "warning", 0), (-120_000, "failed", 3)])
def test_clocks_that_disagree(
    migrated: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_ms: int, status: str, code: int
) -> None:
    original = SystemClock.now
    monkeypatch.setattr(SystemClock, "now", lambda self: original(self) - ahead_ms)
    report = run_checks(settings(migrated, tmp_path))
    assert (outcome(report)["clock"], report.exit_code) == (status, code)
    (step,) = [step for step in report.steps if step.name == "clock"]
    assert ("ahead of" in step.detail) == (ahead_ms > 0) or ahead_ms == 0


# -- schema: 4 ------------------------------------------------------------------------------------------------------------------------


def test_a_database_that_is_not_migrated_is_only_looked_at(database: Database, tmp_path: Path) -> None:
    report = run_checks(settings(database, tmp_path))
    assert (report.exit_code, report.verdict, outcome(report)["schema"]) == (4, "empty", "failed")
    assert outcome(report)["rights"] == "skipped"
    engine = sa.create_engine(database.url)
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()


def test_init_migrates(database: Database, tmp_path: Path) -> None:
    report = run_checks(settings(database, tmp_path, migrate="verify"), init=True)
    assert (report.ok, report.verdict) == (True, "current")
    assert run_checks(settings(database, tmp_path)).ok


def test_a_sqlite_file_that_does_not_exist_is_not_created(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    report = run_checks(FlueSettings(database_url=url, artifacts=str(tmp_path / "store")))
    assert (report.exit_code, report.verdict, report.storage_backend) == (4, "empty", "sqlite-fs")
    assert os.listdir(tmp_path) == []
    assert run_checks(FlueSettings(database_url=url, artifacts=str(tmp_path / "store")), init=True).ok


def test_a_newer_database_is_refused_even_with_init(migrated: Database, tmp_path: Path) -> None:
    migrated.admin_execute("UPDATE flue_meta SET value = '2' WHERE value = '1'")
    report = run_checks(settings(migrated, tmp_path), init=True)
    (failed,) = [step for step in report.steps if step.status is Status.FAILED]
    assert (report.exit_code, failed.code) == (4, "persisted_format_version_unsupported")


# -- object store: 5 ------------------------------------------------------------------------------------------------------------------


@pytest.mark.databases("sqlite")
@pytest.mark.stores
class TestS3:
    @pytest.mark.parametrize("engine", ["s3fs", "obstore"])
    def test_all_is_well_and_nothing_is_left(self, migrated: Database, seaweedfs: S3Store, engine: str) -> None:
        report = run_checks(FlueSettings(database_url=migrated.url, artifact_engine=engine, **seaweedfs.settings()))
        assert report.ok, report.to_wire()
        assert (report.storage_backend, report.artifacts) == ("sqlite-s3", f"s3://{seaweedfs.bucket}/prefix")
        assert "presigned-urls" in report.features
        assert seaweedfs.keys() == []

    @pytest.mark.parametrize("engine", ["s3fs", "obstore"])
    def test_a_missing_bucket_is_created_by_init_only(self, migrated: Database, seaweedfs: S3Store, engine: str) -> None:
        missing = seaweedfs.settings(artifacts=f"s3://{seaweedfs.bucket}-missing-{engine}", artifact_engine=engine)
        report = run_checks(FlueSettings(database_url=migrated.url, **missing))
        assert (report.exit_code, outcome(report)["store_write"]) == (5, "failed")
        report = run_checks(FlueSettings(database_url=migrated.url, **missing), init=True)
        assert report.ok, report.to_wire()
        assert "bucket was created" in next(step.detail for step in report.steps if step.name == "store_write")
        assert run_checks(FlueSettings(database_url=migrated.url, **missing)).ok

    def test_a_wrong_secret(self, migrated: Database, seaweedfs: S3Store) -> None:
        wrong = seaweedfs.settings(s3_secret_access_key="not-the-right-one")
        report = run_checks(FlueSettings(database_url=migrated.url, **wrong))
        (failed,) = [step for step in report.steps if step.status is Status.FAILED]
        assert (report.exit_code, failed.name, failed.code) == (5, "store_write", "artifact_store_failure")
        assert "not-the-right-one" not in json.dumps(report.to_wire())

    def test_an_endpoint_that_is_not_there(self, migrated: Database, seaweedfs: S3Store) -> None:
        dead = seaweedfs.settings(s3_endpoint=f"http://127.0.0.1:{free_port()}")
        report = run_checks(FlueSettings(database_url=migrated.url, **dead))
        assert report.exit_code == 5
        assert outcome(report)["rights"] == "ok"


@pytest.mark.databases("sqlite")
def test_a_folder_that_cannot_be(migrated: Database, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    report = run_checks(settings(migrated, tmp_path, artifacts=str(tmp_path / "file" / "store")))
    assert (report.exit_code, outcome(report)["store_write"], outcome(report)["store_read"]) == (5, "failed", "skipped")


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("fault", ["lost", "changed", "undeletable"])
def test_a_store_that_lies(migrated: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    from flue_sqla.artifacts.local import LocalStore

    faults: dict[str, tuple[str, Any]] = {
        "lost": ("stat", lambda self, key: None),
        "changed": ("read_range", lambda self, key, start, end: b"x" * (end - start)),
        "undeletable": ("delete", lambda self, key: None),
    }
    with monkeypatch.context() as patched:
        patched.setattr(LocalStore, *faults[fault])
        report = run_checks(settings(migrated, tmp_path))
    (failed,) = [step for step in report.steps if step.status is Status.FAILED]
    assert (report.exit_code, failed.code) == (5, "store_inconsistent")
    assert fault == "undeletable" or os.listdir(tmp_path) == []


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("step", ["stat", "read_range"])
def test_an_interrupted_check_leaves_nothing(migrated: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    from flue_sqla.artifacts.local import LocalStore

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalStore, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_checks(settings(migrated, tmp_path))
    assert os.listdir(tmp_path) == []


def test_the_first_area_decides_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    url = f"postgresql+psycopg://u@127.0.0.1:{free_port()}/x"
    report = run_checks(FlueSettings(database_url=url, artifacts=str(tmp_path / "file" / "store")))
    assert [step.area.value for step in report.steps if step.status is Status.FAILED] == [3, 5]
    assert report.exit_code == 3
