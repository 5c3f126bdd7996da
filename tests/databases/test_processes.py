"""What killed test runs leave behind is removed by the next one, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.databases import processes


def test_only_folders_of_dead_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUE_TEST_SCRATCH", str(tmp_path))
    processes._remove_abandoned.cache_clear()
    code = "from tests.databases.processes import scratch; print(scratch('dead'))"
    dead = Path(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    unknown = tmp_path / "flue-test-unknown-1"
    unknown.mkdir()
    assert dead.is_dir()
    alive = processes.scratch("alive")
    processes._remove_abandoned.cache_clear()
    assert processes.scratch("another").is_dir()
    assert (dead.exists(), unknown.exists(), alive.exists()) == (False, True, True)


def test_servers_die_with_the_process_that_started_them(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from tests.databases.processes import spawn;"
        "print(spawn(['sleep', '600'], log=Path(sys.argv[1])).pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "log")], capture_output=True, text=True, check=False)
    orphan = Path("/proc", done.stdout.strip(), "cmdline")
    assert not orphan.exists() or b"sleep" not in orphan.read_bytes()
