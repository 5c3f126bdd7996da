"""The two commands of the README say what is missing instead of failing somewhere in the middle."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make here")


def _make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "Makefile", folder)
    (folder / "pyproject.toml").touch()
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("target", ["demo", "test"])
def test_without_a_suitable_python_it_says_what_to_install(tmp_path: Path, target: str) -> None:
    done = _make(tmp_path, target, "PYTHON=")
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert "apt-get install python3 python3-venv" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_without_the_venv_module_it_says_which_package_has_it(tmp_path: Path) -> None:
    python = tmp_path / "python-without-venv"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    done = _make(tmp_path, "demo", f"PYTHON={python}")
    assert done.returncode != 0
    assert "has no venv module" in done.stderr
    assert "python3-venv" in done.stderr


def test_a_bare_make_explains_itself(tmp_path: Path) -> None:
    done = _make(tmp_path)
    assert done.returncode == 0
    assert "make demo" in done.stdout
    assert "make test" in done.stdout
