"""SQLite: one file per test, a copy of a migrated template file."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.databases.contract import Database, Parameters, Server, async_driver
from tests.databases.migration import migrate
from tests.databases.processes import scratch


class SqliteServer(Server):
    name = "sqlite"

    def __init__(self) -> None:
        self._folder = scratch("sqlite")
        self._numbers = itertools.count(1)
        self._template: Path | None = None

    def create_database(self, *, migrated: bool = False) -> Database:
        path = self._folder / f"t{next(self._numbers)}" / "flue.db"
        path.parent.mkdir()
        if migrated:
            shutil.copyfile(self._template_file(), path)
        return Database(
            server=self,
            schema_name=str(path),
            url=f"sqlite:///{path}",
            async_url=f"sqlite+{async_driver('aiosqlite')}:///{path}",
        )

    def _template_file(self) -> Path:
        if self._template is None:
            path = self._folder / "template.db"
            migrate(f"sqlite:///{path}")
            # A copy must be complete in one file, so nothing may be left in the write-ahead log.
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._template = path
        return self._template

    def drop_database(self, schema_name: str) -> None:
        shutil.rmtree(Path(schema_name).parent, ignore_errors=True)

    def admin_execute(self, schema_name: str, statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(schema_name, timeout=30, isolation_level=None)) as connection:
            return connection.execute(statement, parameters or ()).fetchall()

    def stop_serving(self, *, immediate: bool = False) -> None:
        """SQLite has no server: nothing to stop."""

    def start_serving(self) -> None:
        """SQLite has no server: nothing to start."""

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
