"""docs/embedding.md, executed word for word."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from flue_sqla import Flue
from flue_sqla.errors import WaitTimeoutError
from tests.databases.contract import Database
from tests.docs.programs import environment, programs, worker_process, write_programs

GUIDE = "embedding.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader would have copied the programs to."""
    write_programs(GUIDE, tmp_path)
    monkeypatch.setenv("ARTIFACTS", str(tmp_path / "artifacts"))
    return tmp_path


@pytest.fixture
def load(folder: Path) -> Iterator[Any]:
    """Imports a program of the guide under its own name."""
    loaded: list[str] = []

    def importing(name: str) -> ModuleType:
        specification = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        sys.modules[name] = module
        loaded.append(name)
        specification.loader.exec_module(module)
        return module

    yield importing
    for name in loaded:
        sys.modules.pop(name, None)


def _impatient(submission_id: str, timeout: float) -> None:
    raise WaitTimeoutError("It goes on.")


def test_the_guide_has_the_programs_that_are_tested_here() -> None:
    assert set(programs(GUIDE)) == {"shop.py", "shop_fastapi.py", "shop_flask.py"}


def test_the_first_program(database: Database, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "shop.py"],
        cwd=folder,
        env=environment(DATABASE_URL=database.async_url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "TWO APPLES\n"), done.stderr


def test_fastapi(database: Database, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi.testclient import TestClient

    monkeypatch.setenv("DATABASE_URL", database.async_url)
    shop = load("shop_fastapi")
    with TestClient(shop.app) as client:
        submission = client.post("/orders/7", params={"text": "two apples"}).json()["submission"]
        assert client.get(f"/outcomes/{submission}").json() == {"outcome": "completed", "result": "TWO APPLES"}
        unknown = client.get("/outcomes/sub_none")
        assert (unknown.status_code, unknown.json()) == (404, {"error": "There is no submission 'sub_none'."})
        monkeypatch.setattr(shop.app.state.flue, "wait", _impatient)
        later = client.get(f"/outcomes/{submission}")
        assert (later.status_code, later.json()) == (202, {"outcome": None})
    assert database.admin_execute("SELECT id, submission_id FROM shop_orders") == [(7, submission)]


def test_fastapi_with_aworker_process(database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database.async_url)
    with Flue(database.url) as flue:
        flue.boot()
        receipt = flue.dispatch("triage", id="order-7", message="two apples")
        with worker_process("shop_fastapi:worker", folder):
            assert flue.wait(receipt.submission_id, timeout=30).result == "TWO APPLES"


def test_flask_with_aworker_process(database: Database, folder: Path, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database.url)
    shop = load("shop_flask")
    shop.flue.boot()
    try:
        with worker_process("shop_flask:worker", folder):
            client = shop.app.test_client()
            submission = client.post("/orders/7?text=two+apples").json["submission"]
            assert client.get(f"/outcomes/{submission}").json == {"outcome": "completed", "result": "TWO APPLES"}
        unknown = client.get("/outcomes/sub_none")
        assert (unknown.status_code, unknown.json) == (404, {"error": "There is no submission 'sub_none'."})
        monkeypatch.setattr(shop.flue, "wait", _impatient)
        later = client.get(f"/outcomes/{submission}")
        assert (later.status_code, later.json) == (202, {"outcome": None})
    finally:
        shop.flue.close()
        shop.engine.dispose()
