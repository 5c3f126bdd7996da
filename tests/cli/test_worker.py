"""``flue-sqla worker``: what it takes for a worker, and what it says about an application that listens to nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flue_sqla.cli.main import run

APPLICATION = """
import asyncio
import os

from flue_sqla.asyncio import AsyncFlue
from flue_sqla.worker import Worker


async def handler(ctx):
    return 1


async def ends_at_once(flue):
    await flue.boot()
    worker = Worker(flue, agents={"a": handler})
    asyncio.get_running_loop().call_soon(worker.stop)
    return worker


async def configured():
    return await ends_at_once(AsyncFlue.from_settings())


async def stubborn():
    return await ends_at_once(AsyncFlue("sqlite:///own.db", schema=os.environ.get("OWN_SCHEMA")))


number = 7
nothing = None
tuple_maker = lambda: (1, 2)
greedy = lambda flue, more: None
"""


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the current folder, under a name of its own: what was imported once stays."""
    name = f"shop_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(APPLICATION)
    (tmp_path / f"broken_{name}.py").write_text("import no_such_package_at_all")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return name


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("{module}:number", "of type int"),
        ("{module}:nothing", "of type NoneType"),
        ("{module}:tuple_maker", "makes no Worker, but something of type tuple"),
        ("{module}:greedy", "without arguments"),
        ("{module}:nowhere", "has no attribute 'nowhere'"),
        ("{module}:number.deep.down", "has no attribute 'deep'"),
        ("no_such_module:worker", "No module named 'no_such_module'"),
        ("broken_{module}:worker", "No module named 'no_such_package_at_all'"),
        ("{module}", "does not name a worker"),
        ("{module}:", "does not name a worker"),
        (":worker", "does not name a worker"),
        (".{module}:worker", "does not name a worker"),
    ],
)
def test_what_is_no_worker_is_a_wrong_configuration(target: str, said: str, application: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worker", target.format(module=application), "--json"]) == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == "configuration_invalid"
    assert said in error["message"]
    assert error["remedy"]


def test_a_wrong_url_is_refused_before_anything_is_imported(application: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["worker", "no_such_module:worker", "--url", "oracle://u:hunter2@h/d"]) == 2
    printed = capsys.readouterr().err
    assert "'oracle' is not supported" in printed
    assert "hunter2" not in printed


def _worker(application: str, *arguments: str, **environment: str) -> tuple[str, list[dict[str, Any]]]:
    """Run it to its end; everything on standard error, and its log records, which is the same."""
    command = [sys.executable, "-m", "flue_sqla.cli", "worker", f"{application}:{arguments[0]}", "--json", *arguments[1:]]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stderr, [json.loads(line) for line in done.stderr.splitlines()]


def _warnings(records: list[dict[str, Any]]) -> list[str]:
    return [record["message"] for record in records if record["level"] == "warning"]


def test_the_options_reach_an_application_that_reads_them(application: str, tmp_path: Path) -> None:
    (tmp_path / "env").write_text(f"FLUE_POLL_INTERVAL_MS=123\nDATABASE_URL=sqlite:///{tmp_path}/not_this.db\n")
    _, records = _worker(application, "configured", "--url", "sqlite:///given.db", "--env-file", "env")
    assert _warnings(records) == []
    assert (tmp_path / "given.db").exists()
    assert not (tmp_path / "not_this.db").exists()


def test_the_env_file_reaches_the_application(application: str, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("DATABASE_URL=sqlite:///of_the_file.db\n")
    _worker(application, "configured", "--env-file", "env")
    assert (tmp_path / "of_the_file.db").exists()


@pytest.mark.parametrize("url", ["sqlite:///own.db", "sqlite:///./own.db", "sqlite+aiosqlite:///own.db"])
def test_another_spelling_of_the_same_database_is_no_other(url: str, application: str) -> None:
    assert _warnings(_worker(application, "stubborn", "--url", url)[1]) == []


def test_an_application_with_a_database_of_its_own_is_run_with_a_warning(application: str, tmp_path: Path) -> None:
    shown, records = _worker(application, "stubborn", "--url", "postgresql://user:hunter2@db/shop", "--schema", "agents")
    database, schema = _warnings(records)
    assert "postgresql+psycopg://user:***@db/shop" in database
    assert "sqlite+aiosqlite:///own.db" in database
    assert "DATABASE_URL" in database
    assert "'agents'" in schema
    assert "FLUE_SCHEMA" in schema
    assert "hunter2" not in shown
    assert (tmp_path / "own.db").exists()


def test_the_log_is_about_the_worker_and_not_about_alembic(application: str) -> None:
    names = {record["logger"] for record in _worker(application, "configured", "--url", "sqlite:///one.db")[1]}
    assert "flue_sqla.worker" in names
    assert not [name for name in names if name.startswith("alembic")]
    debugging = _worker(application, "configured", "--url", "sqlite:///two.db", "--log-level", "debug")[1]
    assert [record for record in debugging if record["logger"].startswith("alembic")]
