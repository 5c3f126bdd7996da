"""Servers that the developer names by URL instead of letting the tests start one.

``FLUE_TEST_POSTGRES_URL``, ``FLUE_TEST_MARIADB_URL``, ``FLUE_TEST_MYSQL_URL``: an account that may create databases.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

from sqlalchemy import URL, make_url

from tests.databases.contract import Database, Parameters, Server, Unavailable, async_driver
from tests.databases.mariadb import MysqlFamilyServer
from tests.databases.migration import migrate


def prefix() -> str:
    """Names of this worker's databases; several workers and several people may share the server."""
    return f"flue_test_{os.getpid()}_"


class ExternalPostgres(Server):
    name = "postgres"

    def __init__(self, url: str) -> None:
        self._url = make_url(url).set(drivername="postgresql+psycopg")
        self._numbers = itertools.count(1)
        self._template: str | None = None
        try:
            self.admin_execute(self._url.database or "postgres", "SELECT 1", None)
        except Exception as error:
            raise Unavailable(f"FLUE_TEST_POSTGRES_URL names a server that does not answer: {error}") from error

    def create_database(self, *, migrated: bool = False, icu: bool = False) -> Database:
        if icu and migrated:
            raise Unavailable("ICU templates are only made on servers that the tests start")
        locale = " LOCALE_PROVIDER icu ICU_LOCALE 'en-US'" if icu else ""
        return self._new(self._template_name() if migrated else "template0", locale)

    def _new(self, template: str, locale: str = "") -> Database:
        name = f"{prefix()}{next(self._numbers)}"
        self._maintain(f"CREATE DATABASE {name} TEMPLATE {template}{locale}")
        return Database(server=self, schema_name=name, url=self._text(name), async_url=self._text(name, async_driver("psycopg")))

    def _template_name(self) -> str:
        if self._template is None:
            database = self._new("template0")
            migrate(database.url)
            self._template = database.schema_name
        return self._template

    def _text(self, name: str, driver: str = "psycopg") -> str:
        url: URL = self._url.set(database=name, drivername=f"postgresql+{driver}")
        return url.render_as_string(hide_password=False)

    def _maintain(self, statement: str) -> None:
        self.admin_execute(self._url.database or "postgres", statement, None)

    def drop_database(self, schema_name: str) -> None:
        self._maintain(f"DROP DATABASE IF EXISTS {schema_name} WITH (FORCE)")

    def admin_execute(self, schema_name: str, statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        import psycopg

        dsn = self._url.set(database=schema_name, drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(dsn, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        if self._template is not None:
            self.drop_database(self._template)


class ExternalMysql(MysqlFamilyServer):
    """A MySQL or MariaDB server by URL; ``name`` says which of the two it turned out to be."""

    def __init__(self, url: str, variable: str) -> None:
        parsed = make_url(url)
        super().__init__(
            host=parsed.host or "127.0.0.1",
            port=parsed.port or 3306,
            user=parsed.username or "root",
            password=parsed.password or "",
            prefix=prefix(),
        )
        try:
            version = str(self.admin_execute("", "SELECT VERSION()", None)[0][0])
        except Exception as error:
            raise Unavailable(f"{variable} names a server that does not answer: {error}") from error
        self.name = "mariadb" if "mariadb" in version.lower() else "mysql"

    def close(self) -> None:
        if self._template_ddl is not None:
            self.drop_database(f"{self._prefix}flue_template")
