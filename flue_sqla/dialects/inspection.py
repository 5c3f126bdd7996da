"""What an operator's check asks a database besides its schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from flue_sqla.models.profiles import profile_of

__all__ = ["Inspection", "inspection"]


class Inspection:
    """The portable questions; each is one statement."""

    def clock(self) -> sa.Select[Any] | None:
        """The server's own time in epoch milliseconds; None where the database runs on the clock of this very machine."""
        return None

    def version(self, connection: sa.Connection) -> str:
        """Name and version of the server."""
        numbers = connection.dialect.server_version_info or ()
        name = {"postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB", "sqlite": "SQLite"}[connection.dialect.name]
        if getattr(connection.dialect, "is_mariadb", False):
            name = "MariaDB"
        return f"{name} {'.'.join(str(part) for part in numbers if isinstance(part, int))}"

    def uses(self, table: sa.Table) -> Iterator[tuple[str, sa.Executable]]:
        """Statements that need one right each and touch no row: ``(right, statement)``."""
        never = sa.literal(1) == sa.literal(0)
        columns = [column for column in table.columns if column.identity is None]
        changed = columns[-1]
        yield "SELECT", sa.select(table.c[columns[0].name]).where(never)
        yield "INSERT", sa.insert(table).from_select([column.name for column in columns], sa.select(*columns).where(never))
        yield "UPDATE", sa.update(table).values({changed.name: changed}).where(never)
        yield "DELETE", sa.delete(table).where(never)

    def quick(self, url: sa.URL, seconds: int) -> sa.URL:
        """The URL with a bounded time to connect, unless it says one."""
        return url if "connect_timeout" in url.query else url.update_query_dict({"connect_timeout": str(seconds)})


class PostgreSQLInspection(Inspection):
    def clock(self) -> sa.Select[Any] | None:
        return sa.select(sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()) * 1000, sa.BigInteger()))


class MySQLInspection(Inspection):
    def clock(self) -> sa.Select[Any] | None:
        return sa.select(sa.cast(sa.func.unix_timestamp(sa.func.sysdate(sa.literal_column("6"))) * 1000, sa.BigInteger()))


class SQLiteInspection(Inspection):
    def quick(self, url: sa.URL, seconds: int) -> sa.URL:
        return url


def inspection(dialect_name: str) -> Inspection:
    """The questions for one SQLAlchemy dialect name.

    Raises ConfigurationError for a database that is not supported.
    """
    kinds: dict[str, type[Inspection]] = {"postgres": PostgreSQLInspection, "mysql": MySQLInspection, "sqlite": SQLiteInspection}
    return kinds[profile_of(dialect_name)]()
