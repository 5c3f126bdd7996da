"""Rows of one table into the database: as they are, or merged with what is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.errors import SnapshotConflictError
from flue_sqla.snapshot.catalogue import SnapshotTable
from flue_sqla.snapshot.database import Rows
from flue_sqla.snapshot.document import Header
from flue_sqla.snapshot.layout import Row
from flue_sqla.snapshot.reader import Segment
from flue_sqla.snapshot.report import TableReport
from flue_sqla.snapshot.validation import decoded
from flue_sqla.snapshot.values import RowCodec

__all__ = ["TableLoader", "loader_for"]

_SETTLED: Final = "settled"
_LOOK_UP: Final = 200


class TableLoader:
    """Inserts every row; the table is empty, or was emptied."""

    def __init__(self, rows: Rows, table: SnapshotTable, header: Header, report: TableReport, *, dry_run: bool) -> None:
        self.table = table
        self._rows = rows
        self._columns = header.tables[table.name]
        self._codec = RowCodec(table, self._columns)
        # Bytes that came with the snapshot lie in the configured store, wherever they lay before.
        self._moved = self._columns.index("store") if header.blobs and "store" in self._columns else None
        self._report = report
        self._dry_run = dry_run

    def load(self, segment: Segment) -> None:
        """The rows of one segment."""
        rows = decoded(self._codec, self.table, segment)
        if (place := self._moved) is not None:
            rows = [(*row[:place], None, *row[place + 1 :]) for row in rows]
        self._load(rows)

    def _load(self, rows: list[Row]) -> None:
        self._insert(self._columns, rows)

    def _insert(self, columns: Sequence[str], rows: list[Row]) -> None:
        if not self._dry_run:
            self._rows.insert(self.table, columns, rows)
        self._report.inserted += len(rows)


class MergingLoader(TableLoader):
    """Inserts what is missing, skips what is identical, refuses what differs."""

    _identity: tuple[str, ...]

    def __init__(self, rows: Rows, table: SnapshotTable, header: Header, report: TableReport, *, dry_run: bool) -> None:
        super().__init__(rows, table, header, report, dry_run=dry_run)
        self._identity = table.key
        self._inserted_columns = self._columns

    def _load(self, rows: list[Row]) -> None:
        for start in range(0, len(rows), _LOOK_UP):
            self._merge(rows[start : start + _LOOK_UP])

    def _merge(self, rows: list[Row]) -> None:
        key_places = [self._columns.index(name) for name in self._identity]
        keys = [tuple(row[at] for at in key_places) for row in rows]
        existing = self._rows.by_key(self.table, self._identity, keys)
        missing = []
        for key, row in zip(keys, rows, strict=True):
            found = existing.get(key)
            if found is None:
                missing.append(row)
            elif self._differing(row, found):
                raise self._conflict(key, self._differing(row, found))
            else:
                self._report.skipped += 1
        if missing:
            self._admit(missing)
            places = [self._columns.index(name) for name in self._inserted_columns]
            self._insert(self._inserted_columns, [tuple([row[at] for at in places]) for row in missing])

    def _admit(self, rows: list[Row]) -> None:
        """Refuse rows that must not join what is there."""

    def _compared(self) -> Sequence[str]:
        return self._columns

    def _differing(self, row: Row, found: Row) -> list[str]:
        places = {name: self.table.columns.index(name) for name in self._compared()}
        return [name for at, name in enumerate(self._columns) if name in places and row[at] != found[places[name]]]

    def _conflict(self, key: tuple[Any, ...], columns: list[str]) -> SnapshotConflictError:
        named = {name: str(value)[:200] for name, value in zip(self._identity, key, strict=True)}
        return SnapshotConflictError(
            f"A row of {self.table.name} differs from the one that is there ({_shown(named)}) in {', '.join(columns)}.",
            meta={"table": self.table.name, "key": named, "columns": columns},
            remedy="Decide which side is right: import with --mode replace, or remove the row on one side.",
        )


class SubmissionMergingLoader(MergingLoader):
    """New submissions get new sequences in the old order; the sequence is no part of what makes two equal."""

    def __init__(self, rows: Rows, table: SnapshotTable, header: Header, report: TableReport, *, dry_run: bool) -> None:
        super().__init__(rows, table, header, report, dry_run=dry_run)
        self._identity = ("submission_id",)
        self._inserted_columns = tuple(name for name in self._columns if name not in table.key)
        # Sessions that were free of unsettled work before this merge; what it adds itself does not count.
        self._free: set[str] = set()

    def _compared(self) -> Sequence[str]:
        return self._inserted_columns

    def _admit(self, rows: list[Row]) -> None:
        status, session = self._columns.index("status"), self._columns.index("session_key")
        wanted = {row[session] for row in rows if row[status] != _SETTLED} - self._free
        if not wanted:
            return
        submissions = self.table.table
        busy = self._rows.first(
            sa.select(submissions.c.session_key, submissions.c.submission_id)
            .where(submissions.c.session_key.in_(sorted(wanted)), submissions.c.status != _SETTLED)
            .limit(1)
        )
        if busy is not None:
            raise SnapshotConflictError(
                f"The session {busy[0]!r} has unsettled work on both sides.",
                meta={"sessionKey": busy[0], "submissionId": busy[1]},
                remedy="Let one side settle it, then export and merge again.",
            )
        self._free |= wanted


def loader_for(mode: str, rows: Rows, table: SnapshotTable, header: Header, report: TableReport, *, dry_run: bool) -> TableLoader:
    """The loader for one table in this mode."""
    kind: type[TableLoader] = TableLoader
    if mode == "merge":
        kind = SubmissionMergingLoader if table.key == ("sequence",) else MergingLoader
    return kind(rows, table, header, report, dry_run=dry_run)


def _shown(key: dict[str, str]) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in key.items())
