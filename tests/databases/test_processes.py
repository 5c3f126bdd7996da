"""What killed test runs leave behind is removed by the next one, and nothing else."""

from __future__ import annotations

import os
import select
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
    """The server's log is a pipe here: its first line says that the server runs, its end that the server is dead."""
    log = tmp_path / "log"
    os.mkfifo(log)
    server = ["sh", "-c", "echo running; exec sleep 600"]
    code = (
        "import sys; from pathlib import Path; from tests.databases.processes import spawn;"
        f"spawn({server!r}, log=Path(sys.argv[1])); sys.stdin.read()"
    )
    starter = subprocess.Popen([sys.executable, "-c", code, str(log)], stdin=subprocess.PIPE)
    with log.open("rb", buffering=0) as output:
        assert output.read(8) == b"running\n"
        starter.kill()
        starter.wait()
        assert select.select([output], [], [], 60)[0]
        assert output.read() == b""
