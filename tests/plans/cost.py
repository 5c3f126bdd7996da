"""What a statement costs the server, counted: pages on PostgreSQL, rows on MariaDB, instructions on SQLite. And which plan it took."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

__all__ = ["Meter", "Spent", "meter"]


@dataclass
class Spent:
    """What the statements inside a ``spent()`` block cost together, and the tables that they read from end to end."""

    cost: int = 0
    full_scans: set[str] = field(default_factory=set)
    indexes: set[str] = field(default_factory=set)


class Meter:
    """Measures the statements of one engine."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._now: Spent | None = None

    @contextmanager
    def spent(self) -> Iterator[Spent]:
        self._now = spent = Spent()
        try:
            yield spent
        finally:
            self._now = None


class _PostgresMeter(Meter):
    """Runs each statement once more, explained, in a transaction that is rolled back."""

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__(engine)
        self._explaining = sa.create_engine(engine.url)
        event.listen(engine, "before_cursor_execute", self._explain)

    def _explain(self, _c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if self._now is None:
            return
        with self._explaining.connect() as connection:
            # The plan that a prepared statement settles on, whatever the parameters.
            connection.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
            result = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters).scalar()
            connection.rollback()
        [plan] = result if isinstance(result, list) else json.loads(str(result))
        self._visit(plan["Plan"], self._now)
        self._now.cost += plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]

    def _visit(self, node: dict[str, Any], spent: Spent) -> None:
        read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        if node["Node Type"] == "Seq Scan" and read > 1000:
            spent.full_scans.add(node["Relation Name"])
        if "Index Name" in node:
            spent.indexes.add(node["Index Name"])
        for child in node.get("Plans", []):
            self._visit(child, spent)


class _MariaDBMeter(Meter):
    """Counts the rows that the storage engine was asked for, and explains each statement."""

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__(engine)
        event.listen(engine, "before_cursor_execute", self._before)
        event.listen(engine, "after_cursor_execute", self._after)

    def _before(self, connection: sa.Connection, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if self._now is None:
            return
        cursor = connection.connection.cursor()
        if statement.lstrip().upper().startswith(("SELECT", "WITH", "UPDATE", "INSERT", "DELETE")):
            # Not FORMAT=JSON, which MariaDB 10.11 writes with unescaped quotes.
            cursor.execute(f"EXPLAIN {statement}", parameters)
            columns = [column[0] for column in cursor.description]
            for row in cursor.fetchall():
                self._note(dict(zip(columns, row, strict=True)), self._now)
        self._start = self._reads(cursor)

    def _after(self, connection: sa.Connection, *_: Any) -> None:
        if self._now is not None:
            self._now.cost += self._reads(connection.connection.cursor()) - self._start

    def _reads(self, cursor: Any) -> int:
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(value) for name, value in cursor.fetchall() if not name.endswith(("deleted", "_rnd_next")))

    def _note(self, step: dict[str, Any], spent: Spent) -> None:
        # The names of derived tables are in angle brackets; small ones are read whole, as they should.
        if step["type"] == "ALL" and int(step["rows"] or 0) > 1000 and not step["table"].startswith("<"):
            spent.full_scans.add(step["table"])
        if step["key"]:
            spent.indexes.add(step["key"])


_LARGE = ("flue_agent_submissions", "flue_conversation_stream_batches", "head", "candidate", "earlier", "submission", "first_row")


class _SQLiteMeter(Meter):
    """Counts instructions of SQLite's virtual machine, in hundreds, and explains each statement."""

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__(engine)
        event.listen(engine, "before_cursor_execute", self._before)

    def _before(self, connection: sa.Connection, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.set_progress_handler(self._step, 100)
        if self._now is None or statement.startswith("BEGIN"):
            return
        for *_ids, detail in driver.execute(f"EXPLAIN QUERY PLAN {statement}", parameters):
            words = detail.split()
            if words[0] == "SCAN" and words[1] in _LARGE and "USING" not in words:
                self._now.full_scans.add(words[1])
            if "INDEX" in words:
                self._now.indexes.add(words[words.index("INDEX") + 1])

    def _step(self) -> int:
        if self._now is not None:
            self._now.cost += 1
        return 0


def meter(engine: sa.Engine) -> Meter:
    """The meter for this engine's database."""
    kinds: dict[str, type[Meter]] = {"postgresql": _PostgresMeter, "mysql": _MariaDBMeter, "sqlite": _SQLiteMeter}
    return kinds[engine.dialect.name](engine)
