"""Which databases this run tests, and the one server per name that this worker has."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.databases.contract import Database, Server, Unavailable

KNOWN = ("sqlite", "postgres", "postgres-icu", "mariadb", "mysql")


def enabled() -> list[str]:
    """The databases to run every ``database`` test on: ``FLUE_TEST_DATABASES``, or all that may be startable."""
    chosen = [name.strip() for name in os.environ.get("FLUE_TEST_DATABASES", "").split(",") if name.strip()]
    unknown = sorted(set(chosen) - set(KNOWN))
    if unknown:
        raise pytest.UsageError(f"FLUE_TEST_DATABASES names {', '.join(unknown)}; known are {', '.join(KNOWN)}")
    if chosen:
        return chosen
    return ["sqlite", "postgres", "mariadb", *(["mysql"] if os.environ.get("FLUE_TEST_MYSQL_URL") else [])]


def give_up(error: Unavailable) -> None:
    """A server that cannot be had is a failure in CI, and elsewhere a skip that says why."""
    if os.environ.get("CI"):
        pytest.fail(f"in CI every database must start: {error}", pytrace=False)
    pytest.skip(str(error))


def _postgres() -> Server:
    url = os.environ.get("FLUE_TEST_POSTGRES_URL")
    if url:
        from tests.databases.external import ExternalPostgres

        return ExternalPostgres(url)
    from tests.databases.postgres import PostgresServer

    return PostgresServer()


def _mariadb() -> Server:
    url = os.environ.get("FLUE_TEST_MARIADB_URL")
    if url:
        from tests.databases.external import ExternalMysql

        return ExternalMysql(url, "FLUE_TEST_MARIADB_URL")
    from tests.databases.mariadb import MariadbServer

    return MariadbServer()


def _mysql() -> Server:
    url = os.environ.get("FLUE_TEST_MYSQL_URL")
    if not url:
        raise Unavailable("MySQL is only tested on a server named by FLUE_TEST_MYSQL_URL")
    from tests.databases.external import ExternalMysql

    return ExternalMysql(url, "FLUE_TEST_MYSQL_URL")


def _sqlite() -> Server:
    from tests.databases.sqlite import SqliteServer

    return SqliteServer()


class Servers:
    """Starts each server when the first test asks for it, and remembers why one could not start."""

    _starters: dict[str, Callable[[], Server]] = {"sqlite": _sqlite, "postgres": _postgres, "mariadb": _mariadb, "mysql": _mysql}  # noqa: RUF012

    def __init__(self) -> None:
        self._running: dict[str, Server | Unavailable] = {}

    def get(self, name: str) -> Server:
        """The running server; skips (in CI: fails) the test when it cannot be had."""
        if name not in self._running:
            self._running[name] = self._start(name)
        found = self._running[name]
        if isinstance(found, Unavailable):
            give_up(found)
            raise found
        return found

    def create_database(self, name: str, *, migrated: bool) -> Database:
        """A database of its own; ``postgres-icu`` is one on the PostgreSQL server that orders unlike bytes."""
        kind = name.removesuffix("-icu")
        server: Any = self.get(kind)
        options = {"icu": True} if kind != name else {}
        try:
            created: Database = server.create_database(migrated=migrated, **options)
        except Unavailable as error:
            give_up(error)
            raise
        return created

    def _start(self, name: str) -> Server | Unavailable:
        """The server; once more with another port and folder when it does not start, which on a busy machine says little."""
        try:
            return self._starters[name]()
        except Unavailable:
            try:
                return self._starters[name]()
            except Unavailable as error:
                return error

    def close(self) -> None:
        for server in self._running.values():
            if isinstance(server, Server):
                server.close()
        self._running.clear()
