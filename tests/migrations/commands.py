"""Alembic's own command, run as an operator runs it: a process of its own, the URL in the environment.

The processes are forked from a server that has imported Alembic and us already: importing would be nine tenths of their time.
``console_script`` is the real thing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.forkserver import forkserver

CHECKOUT = Path(__file__).parents[2]
INI = CHECKOUT / "alembic.ini"
_SECONDS = 120


def alembic(*arguments: str, url: str | None = None, ini: Path = INI, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``alembic``; the result holds exit code, output and errors."""
    command = ["-c", str(ini), *arguments]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("out", "err")]
        process = forkserver().Process(target=_run, args=(command, _environment(url), str(cwd or Path.cwd()), files))
        process.start()
        process.join(_SECONDS)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(command, _SECONDS)
        texts = [file.read_text() for file in files]
    assert process.exitcode is not None
    return subprocess.CompletedProcess(command, process.exitcode, *texts)


def succeed(*arguments: str, url: str | None = None, ini: Path = INI, cwd: Path | None = None) -> str:
    """As ``alembic``, but the command must succeed; returns its standard output."""
    result = alembic(*arguments, url=url, ini=ini, cwd=cwd)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def console_script(*arguments: str, url: str) -> subprocess.CompletedProcess[str]:
    """Run the script that pip installed."""
    # Not -m alembic: that would put the working folder, where our own folder alembic/ lies, before the library.
    command = [str(Path(sys.executable).parent / "alembic"), "-c", str(INI), *arguments]
    return subprocess.run(command, env=_environment(url), capture_output=True, text=True, timeout=_SECONDS, check=False)


def _environment(url: str | None) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), str(CHECKOUT)]))
    return environment if url is None else {**environment, "DATABASE_URL": url}


def _run(command: list[str], environment: dict[str, str], cwd: str, files: list[Path]) -> None:
    for path, stream in zip(files, (sys.stdout, sys.stderr), strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), stream.fileno())
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    from alembic.config import main

    try:
        main(command, prog="alembic")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
