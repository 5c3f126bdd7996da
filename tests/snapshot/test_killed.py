"""SIGKILL at every step of an import: the database is as it was before, or as it is after; a second import succeeds."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flue_sqla import AttachmentRef, Flue, FlueSettings, snapshot
from tests.databases.contract import Database
from tests.snapshot import samples

ROOT = Path(__file__).parent.parent.parent
pytestmark = [pytest.mark.faults, pytest.mark.slow]


def killed(url: str, store: Path, file: Path, mode: str, step: str) -> bool:
    """Import in a process that dies at ``step``; False when it never came there."""
    command = [sys.executable, "-m", "tests.snapshot.importer", url, str(store), str(file), mode, step]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == -signal.SIGKILL:
        return True
    assert done.stdout.strip() == "survived", done.stderr
    return False


@pytest.fixture
def replacement(tmp_path: Path) -> Path:
    """Other rows than those of the target, in every table, and the bytes of two artifacts and an attachment."""
    settings = FlueSettings(artifacts=str(tmp_path / "source"), offload_attachments_above=0)
    flue = Flue("sqlite:///:memory:", settings=settings)
    flue.boot()
    rows = samples.small()
    for table in ("flue_artifacts", "flue_attachments", "flue_offloaded_attachments"):
        del rows[table]
    samples.insert(flue.engine, rows)
    flue.attachments.put("agents/a/i1", AttachmentRef.of("att_kept", "image/png", b"third"), b"third", "c")
    flue.artifacts.put(b"first", name="first")
    flue.artifacts.put(b"second" * 100_000, name="second")
    snapshot.export(flue, tmp_path / "new.snap", blobs=True)
    flue.close()
    return tmp_path / "new.snap"


@pytest.fixture
def target(migrated: Database, tmp_path: Path) -> Any:
    """A database with rows of its own."""
    flue = Flue(migrated.url, artifacts=str(tmp_path / "store"))
    rows = {"flue_runs": [{**row, "run_id": f"old {row['run_id']}"} for row in samples.small()["flue_runs"]]}
    samples.insert(flue.engine, rows)
    yield flue
    flue.close()


# The gates and the emptying of the tables take about 30 statements each, the loading about 20 more.
STEPS = [*(f"statement:{number}" for number in (0, 3, 9, 15, 21, 27, 33, 39, 45, 51, 57, 63, 75)), "commit", "upload:0", "upload:1"]


@pytest.mark.parametrize("step", STEPS)
def test_killed_in_the_middle_is_as_before(target: Flue, migrated: Database, replacement: Path, tmp_path: Path, step: str) -> None:
    before = samples.physical_rows(target.engine)
    target.engine.dispose()
    died = killed(migrated.url, tmp_path / "store", replacement, "replace", step)
    if died and not (step == "commit" and migrated.name == "mariadb"):
        assert samples.physical_rows(target.engine) == before
    # Whatever bytes it left, a second import succeeds and a sweep finds nothing that has to be repaired.
    report = snapshot.load(target, replacement, mode="replace")
    assert report.inserted == snapshot.inspect(replacement).rows
    snapshot.export(target, tmp_path / "again.snap", blobs=True)
    assert (tmp_path / "again.snap").read_bytes() == replacement.read_bytes()


@pytest.mark.parametrize("step", ["upload:1", "statement:45", "commit"])
def test_a_sweep_brings_store_and_rows_into_agreement(
    target: Flue, migrated: Database, replacement: Path, tmp_path: Path, step: str
) -> None:
    """Bytes that a killed import left are orphans to a sweep; afterwards nothing is wrong, and the import succeeds."""
    target.engine.dispose()
    assert killed(migrated.url, tmp_path / "store", replacement, "replace", step)
    target.artifacts.sweep(grace_ms=-1000, repair=True)
    stored = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert len(stored) == len(target.artifacts.list().artifacts)
    assert snapshot.load(target, replacement, mode="replace").inserted == snapshot.inspect(replacement).rows


def test_killed_after_the_commit_everything_is_there(target: Flue, migrated: Database, replacement: Path, tmp_path: Path) -> None:
    assert killed(migrated.url, tmp_path / "store", replacement, "replace", "after")
    snapshot.export(target, tmp_path / "again.snap", blobs=True)
    assert (tmp_path / "again.snap").read_bytes() == replacement.read_bytes()


def test_the_steps_reach_to_the_end(target: Flue, migrated: Database, replacement: Path, tmp_path: Path) -> None:
    """The last of the counted statements is beyond the last one of an import, so none is left untested."""
    assert not killed(migrated.url, tmp_path / "store", replacement, "replace", "statement:200")
