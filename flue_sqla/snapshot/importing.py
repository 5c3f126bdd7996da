"""``load``: a whole snapshot into a database, or nothing of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from flue_sqla.dialects import implementation
from flue_sqla.dialects.bulk import placed
from flue_sqla.errors import FlueError, InvalidInputError, OutcomeUnknown, SnapshotConflictError, SnapshotError
from flue_sqla.schema.connections import connected, under_lock
from flue_sqla.snapshot.blobs import BlobLoader
from flue_sqla.snapshot.catalogue import TABLES, SnapshotTable
from flue_sqla.snapshot.database import Rows, refuse_foreign_schema, refused_rows, require_flue, typed_errors
from flue_sqla.snapshot.ledger import Ledger
from flue_sqla.snapshot.limits import TargetLimits
from flue_sqla.snapshot.loading import TableLoader, loader_for
from flue_sqla.snapshot.reader import Blob, SnapshotReader
from flue_sqla.snapshot.report import LoadReport
from flue_sqla.snapshot.validation import check_header, validate

if TYPE_CHECKING:
    from flue_sqla.flue import Flue

__all__ = ["MODES", "load"]

MODES: Final = ("refuse", "replace", "merge")


def load(flue: Flue, path: str | os.PathLike[str], *, mode: str = "refuse", dry_run: bool = False) -> LoadReport:
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
        validate(reader, tables, ledger, limits.of)
        return _Import(flue, reader, tables, ledger, mode, dry_run).run()


class _TargetLimits:
    """What the target can hold; asks it once."""

    def __init__(self, flue: Flue) -> None:
        with typed_errors(flue), connected(flue.engine) as connection:
            connection = connection.execution_options(flue_begin="DEFERRED")
            refuse_foreign_schema(flue, connection)
            rows = Rows(connection, implementation(connection.dialect), flue.schema)
            self._statement_limit = rows.bulk.statement_limit(connection)
            self._rows = rows
            self._dialect = connection.dialect

    def of(self, table: SnapshotTable, columns: Sequence[str]) -> TargetLimits:
        return TargetLimits(self._rows.tables[table.name], columns, self._dialect, self._rows.bulk, self._statement_limit)


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

    def run(self) -> LoadReport:
        if not self._reader.header.blobs or self._dry_run:
            return self._rows(dry_run=self._dry_run)
        # Whatever would refuse the rows is asked first, so that no bytes are uploaded for nothing.
        self._rows(dry_run=True)
        loader = BlobLoader(self._flue._stores.blocking(), self._ledger)
        try:
            self._upload(loader)
            report = self._rows(dry_run=False)
        except OutcomeUnknown:
            raise  # the rows may be there, so their bytes must stay: a sweep will tell
        except FlueError:
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
        def work(connection: sa.Connection) -> LoadReport:
            with refused_rows():
                return self._in_transaction(connection, dry_run)

        with typed_errors(self._flue):
            return under_lock(self._flue.engine, self._flue.schema, self._flue.settings.lock_timeout_ms, work)

    def _in_transaction(self, connection: sa.Connection, dry_run: bool) -> LoadReport:
        refuse_foreign_schema(self._flue, connection)
        rows = Rows(connection, implementation(connection.dialect), self._flue.schema)
        report = LoadReport(self._mode, dry_run, self._trailer.sha256)
        with rows.bulk.exclusive(connection, self._flue.schema, list(rows.written_tables())):
            self._refuse_live_leases(connection)
            if self._mode == "refuse":
                self._refuse_occupied(rows)
            elif self._mode == "replace":
                self._empty(rows, report, dry_run)
            self._fill(rows, report, dry_run)
        return report

    def _refuse_live_leases(self, connection: sa.Connection) -> None:
        submissions = TABLES[0].table
        now = self._flue.clock.now()
        live = (
            sa.select(submissions.c.submission_id, submissions.c.lease_expires_at)
            .where(submissions.c.status != "settled", submissions.c.lease_expires_at > now)
            .limit(1)
        )
        found = connection.execute(live, execution_options=placed(self._flue.schema)).first()
        if found is not None:
            raise SnapshotConflictError(
                f"A worker is alive: it holds the lease of submission {found[0]!r} for another {found[1] - now} ms.",
                meta={"submissionId": found[0], "leaseExpiresAt": found[1]},
                remedy="Stop all workers and servers, wait until their leases have expired, then import.",
            )

    def _refuse_occupied(self, rows: Rows) -> None:
        occupied = [table.name for table in self._affected() if rows.any(table, tenant=self._tenant)]
        if occupied:
            raise SnapshotConflictError(
                f"The database is not empty: {', '.join(occupied)} {'has' if len(occupied) == 1 else 'have'} rows.",
                meta={"tables": occupied},
                remedy="Import into an empty database, or with --mode replace or --mode merge.",
            )

    def _empty(self, rows: Rows, report: LoadReport, dry_run: bool) -> None:
        for table in reversed(self._affected()):
            if dry_run:
                report.table(table.name).deleted = rows.count(table, tenant=self._tenant)
            else:
                report.table(table.name).deleted = rows.delete(table, tenant=self._tenant)

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
                loader = loader_for(
                    self._mode, rows, self._tables[part.table], self._reader.header, report.table(part.table), dry_run=dry_run
                )
            loader.load(part)
        if self._reader.trailer != self._trailer:
            raise SnapshotError("The file changed while it was read.", remedy="Import a file that nobody writes to.")
        if numbered:
            rows.restart_sequence(TABLES[0], "sequence")
