"""A copy of the host project in a folder of the test's own, and its commands."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from flue_sqla.schema.scripts import version_location
from tests.migrations.commands import alembic, succeed

SOURCE = Path(__file__).parent / "project"


@dataclass
class Project:
    folder: Path
    url: str

    def alembic(self, *arguments: str, ini: str = "alembic.ini") -> str:
        """Run the host's own alembic command; it must succeed."""
        return succeed(*arguments, url=self.url, ini=self.folder / ini, cwd=self.folder)

    def fails(self, *arguments: str, ini: str = "alembic.ini") -> subprocess.CompletedProcess[str]:
        """Run the host's own alembic command; it must not succeed."""
        result = alembic(*arguments, url=self.url, ini=self.folder / ini, cwd=self.folder)
        assert result.returncode != 0, result.stdout
        return result

    def ours(self, *arguments: str) -> str:
        """Run alembic with our own ini file on the host's database; it must succeed."""
        return succeed(*arguments, url=self.url)


def copy(folder: Path, url: str) -> Project:
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    ini = folder / "one_history.ini"
    ini.write_text(ini.read_text().replace("FLUE_VERSIONS\n", f"{version_location()}\n"))
    return Project(folder, url)
