"""What a test is given, and what each server has to be able to do."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Parameters = Sequence[Any] | Mapping[str, Any] | None


class Unavailable(Exception):
    """This server cannot run here; the text says why. A visible skip on a developer's machine, a failure in CI."""


@dataclass
class Database:
    """One fresh database for one test, empty or already migrated to head."""

    server: Server
    schema_name: str
    """What the server calls this database (a path for SQLite)."""
    url: str
    """For the synchronous driver. Contains no secret unless the server was given by URL."""
    async_url: str
    """The same database for the asynchronous driver (``FLUE_TEST_ASYNC_DRIVER`` chooses another than the default)."""
    _closers: list[Callable[[], None]] = field(default_factory=list, repr=False)

    @property
    def name(self) -> str:
        """``sqlite``, ``postgres``, ``mariadb`` or (only by URL) ``mysql``."""
        return self.server.name

    def admin_execute(self, statement: str, parameters: Parameters = None) -> list[tuple[Any, ...]]:
        """Run one statement as administrator on a connection of its own, committed at once.

        Placeholders are the driver's (``%s``; ``?`` on SQLite). Returns the rows, or an empty list.
        """
        return self.server.admin_execute(self.schema_name, statement, parameters)

    def restart(self, *, immediate: bool = False) -> None:
        """Stop the server and start it again on the same port; ``immediate`` kills it as a crash would. Committed data stays."""
        self.server.restart(immediate=immediate)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """The server is down inside the block."""
        self.server.stop_serving()
        try:
            yield
        finally:
            self.server.start_serving()

    def sibling(self) -> Database:
        """Another empty database on the same server, removed with this one."""
        other = self.server.create_database()
        self._closers.append(other.remove)
        return other

    def remove(self) -> None:
        while self._closers:
            self._closers.pop()()
        self.server.drop_database(self.schema_name)


class Server(ABC):
    """One running server (or folder of files) per test worker."""

    name: str

    @abstractmethod
    def create_database(self, *, migrated: bool = False) -> Database:
        """A fresh database; ``migrated`` ones are copies of a template that was migrated once."""

    @abstractmethod
    def drop_database(self, schema_name: str) -> None: ...

    @abstractmethod
    def admin_execute(self, schema_name: str, statement: str, parameters: Parameters) -> list[tuple[Any, ...]]: ...

    def stop_serving(self, *, immediate: bool = False) -> None:
        raise Unavailable(f"the {self.name} server under test cannot be stopped by the tests")

    def start_serving(self) -> None:
        raise Unavailable(f"the {self.name} server under test cannot be started by the tests")

    def restart(self, *, immediate: bool = False) -> None:
        self.stop_serving(immediate=immediate)
        self.start_serving()

    @abstractmethod
    def close(self) -> None:
        """Stop for good and remove all files."""


def async_driver(default: str) -> str:
    """The asynchronous driver to test with, from ``FLUE_TEST_ASYNC_DRIVER`` when that one fits the server."""
    wanted = os.environ.get("FLUE_TEST_ASYNC_DRIVER", default)
    families = [{"psycopg", "asyncpg"}, {"asyncmy", "aiomysql"}, {"aiosqlite"}]
    return wanted if any({wanted, default} <= family for family in families) else default
