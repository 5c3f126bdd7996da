"""A wheel built from the checkout works alone: in an environment of its own, from an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.databases.contract import Database

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.xdist_group("wheel"), pytest.mark.packaging, pytest.mark.slow, pytest.mark.timeout(600)]

BOOT = """
import sys
from flue_sqla import Flue
flue = Flue(sys.argv[1])
print(flue.boot().kind.value, flue.boot().kind.value, flue.submissions.has_unsettled())
flue.close()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


class Environment:
    """A virtual environment with nothing in it but the wheel and what it depends on."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder, self._wheel = folder, wheel
        venv.create(folder / "venv", with_pip=True)
        self.work = folder / "empty"
        self.work.mkdir()
        self.install()

    def install(self, extras: str = "") -> None:
        self.run("-m", "pip", "install", "--quiet", f"{self._wheel}{extras}")

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        python = str(self.folder / "venv" / "bin" / "python")
        done = subprocess.run([python, *arguments], cwd=self.work, env=clean, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("environment"), wheel)


def test_the_wheel_holds_scripts_and_types_and_nothing_that_is_only_ours(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"flue_sqla/py.typed", "flue_sqla/_alembic/env.py", "flue_sqla/_alembic/script.py.mako"} <= set(names)
    assert any(name.startswith("flue_sqla/_alembic/versions/") and name.endswith(".py") for name in names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"flue_sqla"}
    assert not [name for name in names if "__pycache__" in name]


def test_it_boots_sqlite_from_an_empty_folder(environment: Environment) -> None:
    assert environment.run("-c", BOOT, "sqlite:///flue.db").stdout.split() == ["current", "current", "False"]
    # Nothing but what was asked for appears in the folder.
    assert {path.name.partition("-")[0] for path in environment.work.iterdir()} == {"flue.db"}


def test_without_the_driver_it_says_which_extra_to_install(environment: Environment) -> None:
    done = environment.run("-c", BOOT, "postgresql+psycopg://127.0.0.1:1/none", check=False)
    if "psycopg" in environment.run("-m", "pip", "list").stdout:
        pytest.skip("the extra has been installed by a test before this one")
    assert "pip install 'flue-sqla[postgres]'" in done.stderr


@pytest.mark.databases("postgres")
def test_it_boots_postgres_with_its_extra(environment: Environment, database: Database) -> None:
    environment.install("[postgres]")
    assert environment.run("-c", BOOT, database.url).stdout.split() == ["current", "current", "False"]
    assert database.admin_execute("SELECT version_num FROM flue_alembic_version")


def test_the_command_works_with_its_extra(environment: Environment) -> None:
    environment.install("[cli]")
    done = environment.run("-m", "flue_sqla.cli", "upgrade", "--url", "sqlite:///command.db", "--json")
    assert json.loads(done.stdout)["verdict"] == "current"
    script = subprocess.run(
        [str(environment.folder / "venv" / "bin" / "flue-sqla"), "--version"], capture_output=True, text=True, check=True
    )
    assert script.stdout.strip() == "0.1.0"
