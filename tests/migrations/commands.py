"""Alembic's own command, run the way an operator runs it: a process of its own, the URL in the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
INI = CHECKOUT / "alembic.ini"


def alembic(*arguments: str, url: str | None = None, ini: Path = INI, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``alembic``; the result holds exit code, output and errors."""
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), str(CHECKOUT)]))
    if url is not None:
        environment["DATABASE_URL"] = url
    # Not -m alembic: that would put the working folder, where our own folder alembic/ lies, before the library.
    command = [str(Path(sys.executable).parent / "alembic"), "-c", str(ini), *arguments]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def succeed(*arguments: str, url: str | None = None, ini: Path = INI, cwd: Path | None = None) -> str:
    """As ``alembic``, but the command must succeed; returns its standard output."""
    result = alembic(*arguments, url=url, ini=ini, cwd=cwd)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
