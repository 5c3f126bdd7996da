"""The demonstration on every database, and what it says when a guarantee does not hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla import Flue
from flue_sqla.cli.demonstration.checks import examine
from flue_sqla.cli.demonstration.stage import orders_app
from flue_sqla.cli.main import run
from tests.databases.contract import Database
from tests.databases.stores import S3Store

ROOT = Path(__file__).parents[2]
FILES = 60


def _demo(*arguments: str, environment: dict[str, str] | None = None, folder: Path = ROOT) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "flue_sqla.cli", "demo", "--json", "--limit", str(FILES), *arguments]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **(environment or {})}, capture_output=True, text=True, timeout=150, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
def test_every_guarantee_holds(database: Database, artifact_url: str) -> None:
    code, document = _demo("--url", database.url, "--artifacts", artifact_url)
    assert code == 0, [check for check in document["checks"] if not check["held"]]
    assert document["ok"]
    assert (document["admitted"], document["settled"], document["artifacts_verified"]) == (FILES, FILES, FILES)
    assert document["recovered"] > 0
    assert document["steps_replayed"] > 0
    with Flue(database.url, artifacts=artifact_url) as flue:
        run = flue.runs.get(document["run_id"])
        assert run is not None
        assert (run.status, run.result["held"]) == ("completed", True)
        assert len(flue.events.read(f"runs/{run.run_id}").events) > 4
    tables = sa.inspect(sa.create_engine(database.url)).get_table_names()
    assert {"orders_app_orders", "orders_app_alembic_version", "flue_alembic_version"} <= set(tables)


@pytest.mark.slow
@pytest.mark.stores
@pytest.mark.databases("postgres")
def test_with_artifacts_on_a_real_s3_server(database: Database, seaweedfs: S3Store, tmp_path: Path) -> None:
    """Its keys are in an env file, which the workers are given too."""
    environment = seaweedfs.environment()
    (tmp_path / "s3.env").write_text("".join(f"{name}={value}\n" for name, value in environment.items()))
    arguments = ("--env-file", "s3.env", "--url", database.url, "--artifacts", environment["FLUE_ARTIFACTS"])
    code, document = _demo(*arguments, environment={"PYTHONPATH": str(ROOT)}, folder=tmp_path)
    assert code == 0, [check for check in document["checks"] if not check["held"]]
    assert document["artifacts_verified"] == FILES


@pytest.mark.slow
@pytest.mark.databases("sqlite")
def test_everything_may_be_named_relative_to_the_current_folder(tmp_path: Path) -> None:
    """The database and the artifacts, also for the workers, and the command itself, which is suggested as it was called."""
    (tmp_path / "json.py").write_text("raise RuntimeError('a file of the user, and none of the workers')\n")
    program = tmp_path / "bin" / "flue-sqla"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable} -P\nimport sys\nfrom flue_sqla.cli import command\nsys.exit(command())\n")
    program.chmod(0o700)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}

    def shell(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=150, check=False)

    done = shell("bin/flue-sqla demo --limit 12 --url sqlite:///here.db --artifacts artifacts --timeout 60")
    assert done.returncode == 0, done.stdout + done.stderr
    suggested = [line.strip() for line in done.stdout.partition("To look closer:")[2].splitlines() if "bin/flue-sqla" in line]
    assert [shell(command).returncode for command in suggested] == [0, 0, 0], suggested
    assert {path.name for path in tmp_path.iterdir()} >= {"here.db", "artifacts"}


@pytest.mark.slow
@pytest.mark.databases("sqlite")
def test_it_checks_and_does_not_claim(database: Database, tmp_path: Path) -> None:
    """The same checks, after somebody has tampered with what is stored."""
    code, document = _demo("--url", database.url, "--artifacts", str(tmp_path / "artifacts"), str(ROOT / "flue_sqla"))
    assert code == 0
    with Flue(database.url, artifacts=str(tmp_path / "artifacts")) as flue:
        batch = flue.runs.get(document["run_id"]).input["batch"]  # type: ignore[union-attr]
        ids = [row[0] for row in database.admin_execute("SELECT submission_id FROM orders_app_orders ORDER BY id")]

        def broken() -> set[str]:
            findings = examine(flue, batch, orders_app().ordering.AGENT, ids, lambda: None)
            return {check.guarantee for check in findings.checks if not check.held}

        assert broken() == set()
        stored = flue.artifacts.list(submission_id=ids[0]).artifacts[0]
        next((tmp_path / "artifacts").rglob(Path(stored.storage_key).name)).write_bytes(b"x" * stored.size)
        database.admin_execute(f"UPDATE flue_agent_submissions SET status = 'queued' WHERE submission_id = '{ids[1]}'")
        database.admin_execute(
            'UPDATE flue_conversation_stream_batches SET data = replace(data, \'"stepName":"parse"\', \'"stepName":"read"\')'
        )
        assert broken() >= {
            "submissions settled",
            "recorded step values that changed",
            "orders with one artifact, intact and about the right file",
        }


def test_a_folder_that_is_not_there_is_called_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", str(tmp_path / "none")]) == 2
    assert "Invalid value for 'FOLDER': Directory" in capsys.readouterr().err
