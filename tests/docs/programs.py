"""The programs in the guides: fenced Python blocks whose first line names their file, and a worker beside them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^```python\n# (?P<name>\w+\.py)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def programs(guide: str) -> dict[str, str]:
    """File name to text, of every program in ``docs/<guide>``."""
    return {block["name"]: block["text"] for block in _BLOCK.finditer((DOCS / guide).read_text())}


def write_programs(guide: str, folder: Path) -> None:
    """Write them as a reader would who copies them."""
    for name, text in programs(guide).items():
        (folder / name).write_text(text)


def environment(**more: str) -> dict[str, str]:
    """The test's own environment, in which the checkout and its examples can be imported."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "examples"))), **more}


@contextmanager
def worker_process(target: str, folder: Path) -> Iterator[None]:
    """The command beside the application; told to stop at the end, which it must do in good order."""
    command = [sys.executable, "-m", "flue_sqla.cli", "worker", target]
    process = subprocess.Popen(command, cwd=folder, env=environment(), stderr=subprocess.PIPE)
    try:
        yield
    finally:
        process.terminate()
        _, told = process.communicate(timeout=30)
    assert process.returncode == 0, told
