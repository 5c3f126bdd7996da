"""``load``: a whole snapshot into a database, or nothing of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from flue_sqla.dialects import implementation
from flue_sqla.errors import (
    ArtifactStoreError,
    DatabaseUnavailableError,
    InvalidInputError,
    OutcomeUnknown,
    PersistedFormatVersionError,
    SchemaVersionError,
    SnapshotError,
)
from flue_sqla.schema.connections import connected, under_lock
from flue_sqla.snapshot.blobs import BlobLoader
from flue_sqla.snapshot.catalogue import TABLES, SnapshotTable
from flue_sqla.snapshot.database import Rows, refuse_foreign_schema, refused_rows, require_flue, typed_errors
from flue_sqla.snapshot.gates import clear_marks, refuse_live_leases, refuse_occupied
from flue_sqla.snapshot.ledger import Ledger
from flue_sqla.snapshot.limits import TargetLimits
from flue_sqla.snapshot.loading import TableLoader, loader_for
from flue_sqla.snapshot.reader import Blob, SnapshotReader
from flue_sqla.snapshot.report import LoadReport
from flue_sqla.snapshot.validation import check_header, validate

if TYPE_CHECKING:
    from flue_sqla.flue import Flue

__all__ = ["MODES", "Mode", "load"]

Mode = Literal["refuse", "replace", "merge"]
MODES: Final = ("refuse", "replace", "merge")

# Any other failure may have come after the commit: then the bytes stay, and a sweep tells.
_NOTHING_COMMITTED: Final = (SnapshotError, ArtifactStoreError, PersistedFormatVersionError, SchemaVersionError)


def load(flue: Flue, path: str | os.PathLike[str], *, mode: Mode = "refuse", dry_run: bool = False) -> LoadReport:
    """Read a snapshot into the database: all of it in one transaction, or nothing.

    The whole file is validated, against what the target can hold too, before anything is changed. Blobs come before rows.

    Args:
        flue: a booted Flue whose workers are stopped.
        path: a file that :func:`export` wrote.
        mode: ``refuse`` takes an empty database only; ``replace`` deletes what is there; ``merge`` adds what is missing, skips what is
            identical, and refuses what differs.
        dry_run: do everything but the change.

    Returns:
        Rows inserted, skipped and deleted, by table.

    Raises:
        SnapshotError: the file is damaged, of another version, or holds what the target cannot; nothing was changed.
        SnapshotConflictError: the target is not empty, has live leases, or holds other rows or bytes; nothing was changed.
        PersistedFormatVersionError, SchemaVersionError: the database is not at this release's revision.
        MigrationLockTimeout: somebody held the boot lock or a table for longer than ``lock_timeout_ms``.
        ArtifactStoreError: the object store failed; what was stored was removed again.
        DatabaseUnavailableError, OutcomeUnknown: the database cannot be reached, or the connection broke at the commit.
        InvalidInputError: an unknown mode.
    """
    require_flue(flue)
    if mode not in MODES:
        raise InvalidInputError(f"The import mode {mode!r} is unknown.", meta={"mode": mode}, remedy="Use refuse, replace or merge.")
    with SnapshotReader(Path(path)) as reader, Ledger() as ledger:
        tables = check_header(reader.header)
        limits = _TargetLimits(flue)
        limits.refuse_tenant(reader.header.tenant)
        validate(reader, tables, ledger, limits.of)
        return _Import(flue, reader, tables, ledger, mode, dry_run).run()


class _TargetLimits:
    """What the target can hold; asks it once."""

    def __init__(self, flue: Flue) -> None:
        with typed_errors(flue), connected(flue.engine) as connection:
            connection = connection.execution_options(flue_begin="DEFERRED")
            refuse_foreign_schema(flue, connection)
            self._impl = implementation(connection.dialect)
            rows = Rows(connection, self._impl, flue.schema)
            self._statement_limit = rows.bulk.statement_limit(connection)
            self._rows = rows
            self._dialect = connection.dialect

    def refuse_tenant(self, tenant: str | None) -> None:
        """Refuse the snapshot of a tenant that the target takes for another one, whose rows ``replace`` would delete.

        Raises:
            SnapshotError: naming it.
        """
        try:
            self._impl.check_key("tenant", tenant or "")
        except InvalidInputError as error:
            raise SnapshotError(
                f"The snapshot cannot be imported: {error.message}",
                meta={"tenant": tenant},
                remedy="Import it into a database that tells the tenant from others.",
            ) from None

    def of(self, table: SnapshotTable, columns: Sequence[str]) -> TargetLimits:
        rows = self._rows
        limits = (self._impl, rows.bulk, self._statement_limit, rows.layout(table))
        return TargetLimits(rows.tables[table.name], columns, self._dialect, *limits)


class _Import:
    """The second half: a file that is known to be sound goes in."""

    def __init__(
        self, flue: Flue, reader: SnapshotReader, tables: dict[str, SnapshotTable], ledger: Ledger, mode: str, dry_run: bool
    ) -> None:
        assert reader.trailer is not None
        self._flue = flue
        self._reader = reader
        self._tables = tables
        self._trailer = reader.trailer
        self._ledger = ledger
        self._mode = mode
        self._dry_run = dry_run
        self._tenant = reader.header.tenant
        self._uploading_since = 0

    def run(self) -> LoadReport:
        if not self._reader.header.blobs or self._dry_run:
            return self._rows(dry_run=self._dry_run)
        # Whatever would refuse the rows is asked first, so that no bytes are uploaded for nothing.
        self._rows(dry_run=True)
        self._uploading_since = self._flue.clock.now()
        loader = BlobLoader(self._flue._stores.blocking(), self._ledger)
        try:
            self._upload(loader)
            report = self._rows(dry_run=False)
        except _NOTHING_COMMITTED:
            loader.take_back()
            raise
        report.blobs_stored, report.blobs_present = loader.stored, loader.present
        return report

    def _upload(self, loader: BlobLoader) -> None:
        self._reader.rewind()
        for part in self._reader.parts():
            if isinstance(part, Blob):
                loader.load(part)

    def _rows(self, *, dry_run: bool) -> LoadReport:
        """Load in one transaction; what remains after the last row is the commit."""
        complete: list[LoadReport] = []

        def work(connection: sa.Connection) -> LoadReport:
            complete.clear()
            with refused_rows():
                return self._in_transaction(connection, dry_run, complete)

        try:
            with typed_errors(self._flue):
                return under_lock(self._flue.engine, self._flue.schema, self._flue.settings.lock_timeout_ms, work)
        except (DatabaseUnavailableError, DBAPIError) as error:
            if not complete or dry_run:
                raise
            raise OutcomeUnknown(
                "The connection broke at the commit of the import, so it is not known whether the rows are there.",
                remedy="Import again with --mode merge --dry-run: it says what is there and what is missing.",
            ) from error

    def _in_transaction(self, connection: sa.Connection, dry_run: bool, complete: list[LoadReport]) -> LoadReport:
        refuse_foreign_schema(self._flue, connection)
        rows = Rows(connection, implementation(connection.dialect), self._flue.schema)
        report = LoadReport(self._mode, dry_run, self._trailer.sha256)
        with rows.bulk.exclusive(connection, self._flue.schema, list(rows.written_tables())):
            refuse_live_leases(rows, self._flue.clock.now())
            if self._mode == "refuse":
                refuse_occupied(rows, self._affected(), self._tenant)
            elif self._mode == "replace":
                self._empty(rows, report, dry_run)
            if self._reader.header.blobs and not dry_run:
                clear_marks(rows, self._ledger, self._uploading_since)
            self._fill(rows, report, dry_run)
            complete.append(report)
        return report

    def _empty(self, rows: Rows, report: LoadReport, dry_run: bool) -> None:
        for table in reversed(self._affected()):
            change = rows.count if dry_run else rows.delete
            report.table(table.name).deleted = change(table, tenant=self._tenant)

    def _affected(self) -> list[SnapshotTable]:
        """The tables that this snapshot speaks for, also those that it has no rows for."""
        return [table for table in TABLES if self._tenant is None or table.tenant_column is not None]

    def _fill(self, rows: Rows, report: LoadReport, dry_run: bool) -> None:
        self._reader.rewind()
        numbered = not dry_run and self._tenant is None
        if numbered:
            # Whoever wrote the rows that are there may have left the counter behind: a merge takes its numbers from it.
            rows.restart_sequence(TABLES[0], "sequence")
        loader: TableLoader | None = None
        for part in self._reader.parts():
            if isinstance(part, Blob):
                part.finish()
                continue
            if loader is None or loader.table.name != part.table:
                counts = report.table(part.table)
                loader = loader_for(self._mode, rows, self._tables[part.table], self._reader.header, counts, dry_run=dry_run)
            loader.load(part)
        if self._reader.trailer != self._trailer:
            raise SnapshotError("The file changed while it was read.", remedy="Import a file that nobody writes to.")
        if numbered:
            rows.restart_sequence(TABLES[0], "sequence")
