"""Which keys a file has, kept outside memory: a private temporary SQLite database that spills to the disk."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Self

__all__ = ["Ledger"]

_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -16384;
CREATE TABLE seen (kind TEXT NOT NULL, item TEXT NOT NULL, line INTEGER NOT NULL, PRIMARY KEY (kind, item)) WITHOUT ROWID;
CREATE TABLE bytes (
  sha256 TEXT NOT NULL, storage_key TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (sha256, storage_key)
) WITHOUT ROWID;
"""


class Ledger:
    """Sets of keys by ``kind`` (a table and its columns), and the places of blobs."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.executescript(_SCHEMA)

    @staticmethod
    def item(values: Sequence[Any]) -> str:
        """One key as text."""
        return str(values[0]) if len(values) == 1 else json.dumps(values, ensure_ascii=False)

    def add(self, kind: str, items: Sequence[tuple[str, int]]) -> tuple[str, int] | None:
        """Note keys with the numbers of their rows; the first that was there before, with the row that brought it, or None."""
        database = self._database
        before = database.total_changes
        database.execute("BEGIN")
        database.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", [(kind, item, line) for item, line in items])
        database.execute("COMMIT")
        if database.total_changes - before == len(items):
            return None
        for item, line in items:
            (first,) = database.execute("SELECT line FROM seen WHERE kind = ? AND item = ?", (kind, item)).fetchone()
            if first != line:
                return item, first
        return None

    def missing(self, kind: str, items: Iterable[str]) -> str | None:
        """The first key that was not noted, or None."""
        for item in items:
            if self._database.execute("SELECT 1 FROM seen WHERE kind = ? AND item = ?", (kind, item)).fetchone() is None:
                return item
        return None

    def place(self, sha256: str, storage_key: str, size: int) -> None:
        """Note that a row wants these bytes under this key."""
        self._database.execute("INSERT OR IGNORE INTO bytes VALUES (?, ?, ?)", (sha256, storage_key, size))

    def places(self, sha256: str) -> list[tuple[str, int]]:
        """The keys that want these bytes, each with the size that its row says."""
        return self._database.execute("SELECT storage_key, size FROM bytes WHERE sha256 = ? ORDER BY storage_key", (sha256,)).fetchall()

    def wants(self, storage_key: str) -> bool:
        """Whether a row wants bytes under this key."""
        return self._database.execute("SELECT 1 FROM bytes WHERE storage_key = ?", (storage_key,)).fetchone() is not None

    def digests(self) -> Iterator[tuple[str, str, int]]:
        """Every digest in ascending order, with one key and size under which its bytes are."""
        query = "SELECT sha256, min(storage_key), size FROM bytes GROUP BY sha256 ORDER BY sha256"
        yield from self._database.execute(query)

    def digest_count(self) -> int:
        return int(self._database.execute("SELECT count(DISTINCT sha256) FROM bytes").fetchone()[0])

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
