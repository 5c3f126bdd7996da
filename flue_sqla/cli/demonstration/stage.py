"""Where the demonstration takes place: the files, the application, its database and its artifacts."""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import flue_sqla
from flue_sqla.errors import ConfigurationError
from flue_sqla.settings import FlueSettings
from flue_sqla.wire import new_id

__all__ = ["DESKS", "Stage", "orders_app", "python_files", "stage"]

DESKS = 16


@dataclass(frozen=True)
class Stage:
    """One demonstration. ``batch`` keeps it apart from others in the same database."""

    batch: str
    files: list[Path]
    folder: Path
    settings: FlueSettings
    env_file: str | None

    def environment(self, lease_ms: int) -> dict[str, str]:
        """What a worker process is started with."""
        paths = [str(_examples()), str(Path(flue_sqla.__file__).parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        own = {
            "DATABASE_URL": self.settings.database_url,
            "FLUE_ARTIFACTS": self.settings.artifacts,
            "ORDERS_LEASE_MS": str(lease_ms),
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "PYTHONSAFEPATH": "1",  # they run in the folder of the caller, whose modules are none of theirs
        }
        if self.settings.schema_name is not None:
            own["FLUE_SCHEMA"] = self.settings.schema_name
        return {**os.environ, **own}


def stage(
    folder: Path | None,
    limit: int,
    url: str | None,
    artifacts: str | None,
    make_settings: Callable[..., FlueSettings],
    env_file: str | None = None,
) -> Stage:
    """Prepare a demonstration over the files of ``folder``; database and artifacts are in a temporary folder unless they are given."""
    home = Path(tempfile.mkdtemp(prefix="flue-demo-"))
    given = {"database_url": url or f"sqlite:///{home / 'flue.db'}", "artifacts": artifacts or str(home / "artifacts")}
    return Stage(new_id("demo").lower(), python_files(folder, limit), home, make_settings(**given), env_file)


def python_files(folder: Path | None, limit: int) -> list[Path]:
    """The Python files below ``folder`` (default: the standard library's), at most ``limit``, the same ones each time.

    Raises:
        ConfigurationError: there are none.
    """
    root = (folder or Path(sysconfig.get_path("stdlib"))).resolve()
    found = []
    for parent, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in ("site-packages", "__pycache__", "test", "tests", "idlelib"))
        found += [Path(parent, name) for name in sorted(names) if name.endswith(".py")]
        if len(found) >= limit:
            break
    if not found:
        raise ConfigurationError(f"There is no Python file below {root}.", remedy="Name a folder with Python source files.")
    return found[:limit]


def orders_app() -> ModuleType:
    """The example application, from the checkout or from the wheel."""
    folder = str(_examples())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    for name in ("database", "ordering"):
        importlib.import_module(f"orders_app.{name}")
    return importlib.import_module("orders_app")


def _examples() -> Path:
    package = Path(flue_sqla.__file__).parent
    for candidate in (package.parent / "examples", package / "_examples"):
        if (candidate / "orders_app").is_dir():
            return candidate
    raise ConfigurationError("The example application is not installed.", remedy="Run the demo from a checkout or an installed wheel.")
