"""``export``: one view of the database into one file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flue_sqla.errors import SnapshotError
from flue_sqla.repositories.artifacts import ArtifactRows
from flue_sqla.schema.release import FORMAT_VERSION, HEAD
from flue_sqla.snapshot.blobs import export_blobs
from flue_sqla.snapshot.catalogue import EXCLUDED, TABLES, SnapshotTable
from flue_sqla.snapshot.database import Rows, one_view, require_flue
from flue_sqla.snapshot.document import Header
from flue_sqla.snapshot.layout import Row
from flue_sqla.snapshot.ledger import Ledger
from flue_sqla.snapshot.report import SnapshotInfo
from flue_sqla.snapshot.summary import info_of
from flue_sqla.snapshot.validation import check_tenant
from flue_sqla.snapshot.values import Problem, RowCodec
from flue_sqla.snapshot.writer import SnapshotWriter

if TYPE_CHECKING:
    from flue_sqla.flue import Flue

__all__ = ["export"]

Note = Callable[[Row], None]
_NO_TENANT: Final = "the snapshot is of one tenant, and this table knows no tenants"


def export(flue: Flue, path: str | os.PathLike[str], *, blobs: bool = False, tenant: str | None = None) -> SnapshotInfo:
    """Write everything in the database to one file; writers go on meanwhile and are not waited for.

    Args:
        flue: a booted Flue.
        path: the file to write; an existing one is replaced when the new one is complete. ``….gz`` is compressed.
        blobs: include the bytes of the artifacts, each digest once.
        tenant: only the artifacts of this tenant; no other table knows tenants, so none is included.

    Returns:
        What was written. Two exports of one state are equal byte for byte.

    Raises:
        InvalidInputError: this database would take ``tenant`` for another one.
        SnapshotError: the file cannot be written, a row cannot be represented, or the bytes of an artifact are missing or corrupt.
        ArtifactStoreError: the object store failed.
        PersistedFormatVersionError, SchemaVersionError: the database is not at this release's revision.
        DatabaseUnavailableError, OutcomeUnknown: the database cannot be reached, or the connection broke.
    """
    require_flue(flue)
    check_tenant(tenant)
    if tenant is not None:
        ArtifactRows(flue._scope).distinct_tenant(tenant)
    target = Path(path)
    tables = [table for table in TABLES if tenant is None or table.tenant_column is not None]
    header = _header(tables, blobs=blobs, tenant=tenant)
    try:
        with SnapshotWriter(target) as writer, Ledger() as ledger:
            writer.header(header)
            with one_view(flue) as rows:
                for table in tables:
                    note = _note_bytes(flue, table, ledger) if blobs and table.tenant_column is not None else None
                    writer.table(table.name, _lines(rows, table, tenant, note))
            # The database is let go first: uploading and downloading may take hours.
            if blobs:
                export_blobs(flue, writer, ledger)
            trailer = writer.finish()
    except OSError as error:
        raise SnapshotError(
            f"The file {str(target)!r} cannot be written: {error.strerror or error}.",
            meta={"path": str(target)},
            remedy="Name a file in an existing, writable folder with enough free space.",
        ) from error
    return info_of(target, header, trailer, target.stat().st_size)


def _header(tables: list[SnapshotTable], *, blobs: bool, tenant: str | None) -> Header:
    excluded = dict(EXCLUDED)
    if tenant is not None:
        excluded |= {table.name: _NO_TENANT for table in TABLES if table.tenant_column is None}
    return Header(
        format_version=FORMAT_VERSION,
        schema_revision=HEAD,
        tables={table.name: table.columns for table in tables},
        excluded=excluded,
        blobs=blobs,
        tenant=tenant,
    )


def _lines(rows: Rows, table: SnapshotTable, tenant: str | None, note: Note | None) -> Iterator[bytes]:
    codec = RowCodec(table, table.columns)
    for row in rows.stream(table, tenant=tenant):
        try:
            if not rows.bulk.typed_columns:
                codec.check_kinds(row)
            yield codec.encode(row)
        except Problem as problem:
            raise SnapshotError(
                f"A row of {table.name} cannot be exported: {problem}.",
                meta={"table": table.name, "key": [str(row[at]) for at in table.key_positions]},
                remedy="Repair or remove the row.",
            ) from problem.__cause__
        if note is not None:
            note(row)


def _note_bytes(flue: Flue, table: SnapshotTable, ledger: Ledger) -> Note:
    """Note where the bytes of each artifact are."""
    state, sha256, key, size, identity, store = table.positions(("state", "sha256", "storage_key", "size", "id", "store"))

    def note(row: Row) -> None:
        if row[state] != "deleting":
            flue._stores.refuse_elsewhere(row[identity], row[store])
            ledger.place(row[sha256], row[key], row[size])

    return note
