"""examples/orders_app/README.md: orders placed by hand, word for word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flue_sqla import Flue
from tests.databases.contract import Database
from tests.docs.programs import ROOT, environment, worker_process, write_programs


def test_orders_by_hand(migrated: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_programs("../examples/orders_app/README.md", tmp_path)
    monkeypatch.setenv("DATABASE_URL", migrated.url)
    monkeypatch.setenv("FLUE_ARTIFACTS", str(tmp_path / "artifacts"))
    examples = ROOT / "examples"
    with worker_process("orders_app.worker:worker", examples):
        command = [sys.executable, str(tmp_path / "place_orders.py")]
        done = subprocess.run(command, cwd=examples, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with Flue(migrated.url, artifacts=str(tmp_path / "artifacts")) as flue:
        assert sorted(done.stdout.split()) == sorted(artifact.id for artifact in flue.artifacts.list().artifacts)
    assert len(done.stdout.split()) == len(list((examples / "orders_app").glob("*.py")))
