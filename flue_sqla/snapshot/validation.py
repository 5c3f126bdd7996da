"""The first pass over a file: everything that can be wrong with it is found before anything is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from flue_sqla.artifacts.keys import check_key, quote_component
from flue_sqla.errors import InvalidInputError, SnapshotError
from flue_sqla.repositories.artifacts import KEPT_TENANT
from flue_sqla.schema.release import FORMAT_VERSION, HEAD, REVISIONS
from flue_sqla.snapshot.catalogue import TABLES, Reference, SnapshotTable, table_named
from flue_sqla.snapshot.document import Header
from flue_sqla.snapshot.layout import Row
from flue_sqla.snapshot.ledger import Ledger
from flue_sqla.snapshot.limits import TargetLimits
from flue_sqla.snapshot.reader import Blob, Segment, SnapshotReader
from flue_sqla.snapshot.values import Problem, RowCodec

__all__ = ["check_header", "check_tenant", "decoded", "row_error", "validate"]

LimitsOf = Callable[[SnapshotTable, Sequence[str]], TargetLimits]
_DELETING: Final = "deleting"


def check_header(header: Header) -> dict[str, SnapshotTable]:
    """The tables that the header announces.

    Raises:
        SnapshotError: versions, tables or columns that this release does not know, or that it needs and are missing.
    """
    if header.format_version != FORMAT_VERSION:
        raise SnapshotError(
            f"The snapshot is of format version {header.format_version}; this release supports {FORMAT_VERSION}.",
            meta={"formatVersion": header.format_version, "supportedVersion": FORMAT_VERSION},
            remedy="Import it with the release of flue-sqla that wrote it.",
        )
    check_tenant(header.tenant)
    if header.schema_revision not in REVISIONS:
        raise SnapshotError(
            f"The snapshot is of schema revision {header.schema_revision[:60]!r}, which this release ({HEAD}) does not know.",
            meta={"schemaRevision": header.schema_revision[:60], "supportedRevision": HEAD},
            remedy="Import it with the release of flue-sqla that wrote it, or a later one.",
        )
    tables = {}
    for name, columns in header.tables.items():
        table = table_named(name)
        if table is None:
            raise _header_error(f"The snapshot has a table {name[:80]!r} that this release does not know.", table=name[:80])
        _check_columns(table, columns)
        if header.tenant is not None and table.tenant_column is None:
            raise _header_error(f"The snapshot is of one tenant, and the table {name} knows no tenants.", table=name)
        tables[name] = table
    return tables


def check_tenant(tenant: str | None) -> None:
    """Refuse a snapshot of artifacts that are nothing without the attachments whose bytes they are.

    Raises:
        SnapshotError: ``tenant`` stands for those.
    """
    if tenant == KEPT_TENANT:
        raise SnapshotError(
            f"{tenant!r} is no tenant: these artifacts are the bytes of attachments.",
            meta={"tenant": tenant},
            remedy="Take a snapshot of everything.",
        )


def _check_columns(table: SnapshotTable, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in table.columns or columns.count(column) > 1:
            raise _header_error(
                f"The snapshot has a column {column[:80]!r} of {table.name} that this release does not know, or has it twice.",
                table=table.name,
                column=column[:80],
            )
    for name in table.columns:
        needed = name in table.key or (not table.table.c[name].nullable and table.table.c[name].server_default is None)
        if needed and name not in columns:
            raise _header_error(f"The snapshot lacks the column {name} of {table.name}.", table=table.name, column=name)


def _header_error(message: str, **meta: Any) -> SnapshotError:
    return SnapshotError(message, meta=meta, remedy="Import it with the release of flue-sqla that wrote it.")


def validate(reader: SnapshotReader, tables: dict[str, SnapshotTable], ledger: Ledger, limits_of: LimitsOf | None = None) -> None:
    """Read the whole file once, and note in ``ledger`` which bytes its artifacts want.

    Args:
        limits_of: what the target can hold, by table; None when there is no target.

    Raises:
        SnapshotError: the first thing that is wrong, with its table and row.
    """
    checks: dict[str, _TableCheck] = {}
    for part in reader.parts():
        if isinstance(part, Blob):
            _check_blob(part, ledger)
            continue
        check = checks.get(part.table)
        if check is None:
            check = checks[part.table] = _TableCheck(tables[part.table], reader.header, ledger, limits_of)
        check.segment(part)
    assert reader.trailer is not None
    if reader.header.blobs and ledger.digest_count() != reader.trailer.blobs:
        raise SnapshotError(
            "The snapshot says that it holds the artifacts' bytes, and some are missing.",
            meta={"digests": ledger.digest_count(), "blobs": reader.trailer.blobs},
            remedy="Take the snapshot again.",
        )


def decoded(codec: RowCodec, table: SnapshotTable, segment: Segment) -> list[Row]:
    """The rows of a segment.

    Raises:
        SnapshotError: with table and row number.
    """
    number = segment.first_row
    rows = []
    try:
        for line in segment.lines:
            rows.append(codec.decode(line))
            number += 1
    except Problem as problem:
        raise row_error(table, number, str(problem)) from problem.__cause__
    return rows


def row_error(table: SnapshotTable, number: int, why: str) -> SnapshotError:
    """Row numbers count from 1 in the order of the file."""
    return SnapshotError(
        f"Row {number} of {table.name} cannot be imported: {why}.",
        meta={"table": table.name, "row": number, "problem": why},
        remedy="Correct the row where the snapshot was taken and take another, or import into a database that can hold it.",
    )


class _TableCheck:
    """All checks of one table's rows, in the order of the file."""

    def __init__(self, table: SnapshotTable, header: Header, ledger: Ledger, limits_of: LimitsOf | None) -> None:
        columns = header.tables[table.name]
        self._table = table
        self._header = header
        self._columns = columns
        self._codec = RowCodec(table, columns)
        self._limits = limits_of(table, columns) if limits_of is not None else None
        self._ledger = ledger
        self._key = [columns.index(name) for name in table.key]
        self._before: Any = None
        self._unique = [(names, self._places(names)) for names in table.unique if set(names) <= set(columns)]
        self._referred = _referred_keys(table)
        self._references = [(reference, self._places(reference.columns)) for reference in table.references]

    def segment(self, segment: Segment) -> None:
        rows = decoded(self._codec, self._table, segment)
        self._order(rows, segment.first_row)
        if self._limits is not None:
            self._target(rows, segment.first_row, self._limits)
        for names, places in self._unique:
            self._distinct(names, places, rows, segment.first_row)
        for names in self._referred:
            places = self._places(names)
            self._ledger.add(_kind(self._table.name, names), [(Ledger.item([row[at] for at in places]), 0) for row in rows])
        for reference, places in self._references:
            self._refers(reference, places, rows, segment.first_row)
        if self._table.tenant_column is not None:
            self._artifacts(rows, segment.first_row)

    def _order(self, rows: Sequence[Row], number: int) -> None:
        before = self._before
        places = self._key
        for row in rows:
            key = row[places[0]] if len(places) == 1 else tuple([row[at] for at in places])
            if before is not None and not before < key:
                why = "its key is that of the row before" if before == key else "its key is not above that of the row before"
                raise row_error(self._table, number, why)
            before = key
            number += 1
        self._before = before

    def _target(self, rows: Sequence[Row], number: int, limits: TargetLimits) -> None:
        try:
            for row in rows:
                limits.check(row)
                number += 1
        except Problem as problem:
            raise row_error(self._table, number, str(problem)) from None

    def _distinct(self, names: tuple[str, ...], places: list[int], rows: Sequence[Row], number: int) -> None:
        keys = [([row[at] for at in places], number + index) for index, row in enumerate(rows)]
        items = [(Ledger.item(key), line) for key, line in keys if None not in key]
        found = self._ledger.add(_kind(self._table.name, names), items)
        if found is not None:
            item, first = found
            duplicate = next(line for text, line in items if text == item and line != first)
            raise row_error(self._table, duplicate, f"it has the same {', '.join(names)} as row {first}")

    def _refers(self, reference: Reference, places: list[int], rows: Sequence[Row], number: int) -> None:
        wanted: dict[str, int] = {}
        for index, row in enumerate(rows):
            wanted.setdefault(Ledger.item([row[at] for at in places]), number + index)
        missing = self._ledger.missing(_kind(reference.target, reference.target_columns), wanted)
        if missing is not None:
            named = ", ".join(reference.columns)
            why = f"it refers to a row of {reference.target} that is not in the snapshot ({named} = {missing[:120]!r})"
            raise row_error(self._table, wanted[missing], why)

    def _artifacts(self, rows: Sequence[Row], number: int) -> None:
        for index, row in enumerate(rows):
            named = dict(zip(self._columns, row, strict=True))
            try:
                _check_artifact(named, self._header.tenant)
            except Problem as problem:
                raise row_error(self._table, number + index, str(problem)) from None
            if self._header.blobs and named["state"] != _DELETING:
                self._ledger.place(named["sha256"], named["storage_key"], named["size"])

    def _places(self, names: Sequence[str]) -> list[int]:
        return [self._columns.index(name) for name in names]


def _check_artifact(row: dict[str, Any], tenant: str | None) -> None:
    """The storage key must lie in the tenant's own folder: a file must not be able to make one tenant read or sweep another's bytes."""
    if tenant is not None and row["tenant"] != tenant:
        raise Problem("it belongs to another tenant than the snapshot")
    try:
        check_key(row["storage_key"])
        own = quote_component(row["tenant"])
    except InvalidInputError as error:
        raise Problem(error.message.rstrip(".")) from error
    if row["state"] != _DELETING and row["storage_key"].partition("/")[0] != own:
        raise Problem(f"its storage key {row['storage_key'][:120]!r} is not in the folder of its tenant")


def _check_blob(blob: Blob, ledger: Ledger) -> None:
    places = ledger.places(blob.sha256)
    sizes = {size for _, size in places}
    if sizes != {blob.size}:
        raise SnapshotError(
            f"The bytes {blob.sha256} are of no artifact in the snapshot, or of one with another size.",
            meta={"sha256": blob.sha256, "size": blob.size},
            remedy="Take the snapshot again.",
        )
    blob.finish()


def _referred_keys(table: SnapshotTable) -> list[tuple[str, ...]]:
    """The keys of this table that other tables refer to, and that are not noted as unique ones anyway."""
    referred = {reference.target_columns for other in TABLES for reference in other.references if reference.target == table.name}
    return sorted(referred - set(table.unique))


def _kind(table: str, names: Sequence[str]) -> str:
    return f"{table}:{','.join(names)}"
