"""Many rows without sending them: ``INSERT … SELECT`` from numbers that the database makes."""

from __future__ import annotations

import warnings
from functools import reduce

import sqlalchemy as sa

__all__ = ["analyze", "insert_many", "numbers", "text_of"]


def numbers(below: int) -> tuple[sa.FromClause, sa.ColumnElement[int], sa.ColumnElement[bool]]:
    """A source, its number expression, and the condition that keeps the numbers from 0 to ``below`` (10 million at most)."""
    places = [sa.union_all(*(sa.select(sa.literal_column(str(digit)).label("d")) for digit in range(10))) for _ in range(7)]
    tables = [digits.subquery(f"place{place}") for place, digits in enumerate(places) if 10**place < below or place == 0]
    source: sa.FromClause = reduce(lambda left, right: left.join(right, sa.true()), tables[1:], tables[0])
    number = reduce(lambda total, pair: total + pair[1].c.d * 10 ** pair[0], enumerate(tables), sa.literal_column("0", sa.Integer()))
    return source, number, number < below


def text_of(number: sa.ColumnElement[int], digits: int = 0) -> sa.ColumnElement[str]:
    """The number as text, padded with zeros to ``digits``."""
    if not digits:
        return sa.cast(number, sa.String(12))
    padded = sa.literal("0" * digits) + sa.cast(number, sa.String(12))
    return sa.func.substr(padded, sa.func.length(padded) - digits + 1, digits)


def insert_many(connection: sa.Connection, statement: sa.Executable) -> None:
    """Run an ``INSERT … SELECT`` from :func:`numbers`: its cartesian product is meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "SELECT statement has a cartesian product")
        connection.execute(statement)


def analyze(engine: sa.Engine, *tables: str) -> None:
    """Tell the planner what is there now."""
    word = "ANALYZE TABLE" if engine.dialect.name in ("mysql", "mariadb") else "ANALYZE"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in tables:
            connection.exec_driver_sql(f"{word} {table}")
