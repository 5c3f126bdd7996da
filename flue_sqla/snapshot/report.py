"""What the three operations answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LoadReport", "SnapshotInfo", "TableInfo", "TableReport"]


@dataclass(frozen=True)
class TableInfo:
    """``sha256`` is over all lines of the table."""

    rows: int
    sha256: str


@dataclass(frozen=True)
class SnapshotInfo:
    """What a snapshot file is. ``sha256`` is the checksum over all of it, ``file_bytes`` its size on the disk."""

    path: str
    version: int
    format_version: int
    schema_revision: str
    tenant: str | None
    tables: Mapping[str, TableInfo]
    excluded: Mapping[str, str]
    has_blobs: bool
    blobs: int
    blob_bytes: int
    sha256: str
    file_bytes: int

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables.values())

    def to_wire(self) -> dict[str, Any]:
        """A JSON object with stable keys."""
        return {
            "path": self.path,
            "version": self.version,
            "formatVersion": self.format_version,
            "schemaRevision": self.schema_revision,
            "tenant": self.tenant,
            "rows": self.rows,
            "tables": {name: {"rows": table.rows, "sha256": table.sha256} for name, table in self.tables.items()},
            "excluded": dict(self.excluded),
            "blobs": {"included": self.has_blobs, "count": self.blobs, "bytes": self.blob_bytes},
            "sha256": self.sha256,
            "fileBytes": self.file_bytes,
        }


@dataclass
class TableReport:
    """Rows of one table: put in, found identical and left alone, deleted before."""

    inserted: int = 0
    skipped: int = 0
    deleted: int = 0


@dataclass
class LoadReport:
    """What an import did, or with ``dry_run`` would do."""

    mode: str
    dry_run: bool
    sha256: str
    tables: dict[str, TableReport] = field(default_factory=dict)
    blobs_stored: int = 0
    blobs_present: int = 0

    def table(self, name: str) -> TableReport:
        """The counts of one table, to be added to."""
        return self.tables.setdefault(name, TableReport())

    @property
    def inserted(self) -> int:
        return sum(table.inserted for table in self.tables.values())

    @property
    def skipped(self) -> int:
        return sum(table.skipped for table in self.tables.values())

    @property
    def deleted(self) -> int:
        return sum(table.deleted for table in self.tables.values())

    def to_wire(self) -> dict[str, Any]:
        """A JSON object with stable keys."""
        return {
            "mode": self.mode,
            "dryRun": self.dry_run,
            "sha256": self.sha256,
            "inserted": self.inserted,
            "skipped": self.skipped,
            "deleted": self.deleted,
            "blobs": {"stored": self.blobs_stored, "present": self.blobs_present},
            "tables": {
                name: {"inserted": table.inserted, "skipped": table.skipped, "deleted": table.deleted}
                for name, table in self.tables.items()
            },
        }
