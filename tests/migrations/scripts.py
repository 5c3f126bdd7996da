"""Running an SQL script as a DBA's client does: statement by statement, ending at the first error."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from tests.databases.contract import Database

DIALECTS = {"sqlite": "sqlite", "postgres": "postgresql", "mariadb": "mariadb", "mysql": "mysql"}


def statements(script: str) -> list[str]:
    """The statements of one of our scripts: none of them has a semicolon inside."""
    lines = [line for line in script.splitlines() if not line.startswith("--")]
    return [text.strip() for text in "\n".join(lines).split(";") if text.strip()]


def run(database: Database, script: str) -> None:
    """Run the script on a driver's own connection in autocommit mode."""
    engine = sa.create_engine(database.url)
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        if database.name == "sqlite":
            driver.isolation_level = None
        elif database.name == "postgres":
            driver.autocommit = True
        else:
            driver.autocommit(True)
        cursor = driver.cursor()
        for statement in statements(script):
            cursor.execute(statement)
        cursor.close()
    engine.dispose()


def refuse(database: Database, script: str) -> None:
    """The script ends with an integrity error."""
    with pytest.raises(Exception, match=r"(?i)null|duplicate|unique"):
        run(database, script)
