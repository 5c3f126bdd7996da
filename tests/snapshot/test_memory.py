"""Memory is bounded by the largest row, whatever the size of the whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flue_sqla import Flue
from tests.databases.contract import Database
from tests.snapshot import samples

ROOT = Path(__file__).parent.parent.parent
MEASURE = """
import resource, sys
from flue_sqla import Flue, snapshot
url, path, work = sys.argv[1:]
flue = Flue(url)
with flue.engine.connect() as connection:
    connection.exec_driver_sql("SELECT 1")
snapshot.inspect(path) if work == "load" else None
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
snapshot.export(flue, path) if work == "export" else snapshot.load(flue, path, mode="replace")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
ROWS, MIB = 70, 1024 * 1024
ALLOWED_MIB = 60


@pytest.mark.slow
def test_a_snapshot_much_larger_than_the_memory_it_takes(migrated: Database, tmp_path: Path) -> None:
    """70 attachments of 2 MiB: 140 MiB in the database, 187 MiB in the file."""
    flue = Flue(migrated.url)
    for number in range(ROWS):
        data = bytes([number]) * (2 * MIB)
        row = {**samples.sample()["flue_attachments"][0], "attachment_id": f"a{number:04d}", "bytes": data, "byte_size": len(data)}
        samples.insert(flue.engine, {"flue_attachments": [row]})
    flue.close()
    path = tmp_path / "large.snap"
    for work in ("export", "load"):
        command = [sys.executable, "-c", MEASURE, migrated.url, str(path), work]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
        assert int(done.stdout) < ALLOWED_MIB, (work, done.stdout)
    assert path.stat().st_size > 180 * MIB
