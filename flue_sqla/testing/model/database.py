"""Tables of an in-memory database: lists of rows under the physical names of spec/schema.md."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["MemoryDatabase", "Row"]

Row = dict[str, Any]


class MemoryDatabase:
    """Rows as plain dicts, one transaction at a time.

    It is also the :class:`~flue_sqla.testing.ports.RawRows` of the model: a test damages these very rows.
    """

    def __init__(self) -> None:
        self._tables: dict[str, list[Row]] = {}
        self._lock = threading.RLock()

    def clear(self) -> None:
        """Forgets every row; sequence numbers go on."""
        with self._lock:
            counters = {name: rows for name, rows in self._tables.items() if name.endswith(".sequence")}
            self._tables = counters

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Excludes every other thread; an exception takes back everything that happened inside."""
        with self._lock:
            before = {name: [dict(row) for row in rows] for name, rows in self._tables.items()}
            try:
                yield
            except BaseException:
                self._tables = before
                raise

    def rows(self, table: str) -> list[Row]:
        """The live rows; a transaction changes them in place."""
        return self._tables.setdefault(table, [])

    def find(self, table: str, **where: Any) -> Row | None:
        """The first live row that matches."""
        return next((row for row in self.rows(table) if _matches(row, where)), None)

    def next_sequence(self, table: str) -> int:
        """One more than any sequence ever given out in ``table``; deleting the newest row does not free its number."""
        counter = self.rows(f"{table}.sequence")
        if not counter:
            counter.append({"value": 0})
        counter[0]["value"] += 1
        return int(counter[0]["value"])

    def select(self, table: str, /, **where: Any) -> list[Row]:
        with self._lock:
            return [dict(row) for row in self.rows(table) if _matches(row, where)]

    def insert(self, table: str, /, **values: Any) -> None:
        with self._lock:
            self.rows(table).append(dict(values))

    def update(self, table: str, where: Mapping[str, Any], /, **values: Any) -> int:
        with self._lock:
            changed = [row for row in self.rows(table) if _matches(row, where)]
            for row in changed:
                row.update(values)
            return len(changed)

    def delete(self, table: str, /, **where: Any) -> int:
        with self._lock:
            rows = self.rows(table)
            kept = [row for row in rows if not _matches(row, where)]
            removed = len(rows) - len(kept)
            rows[:] = kept
            return removed


def _matches(row: Row, where: Mapping[str, Any]) -> bool:
    return all(row.get(name) == value for name, value in where.items())
