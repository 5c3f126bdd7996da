"""``inspect``: what a file says of itself, after its checksums were held against its bytes."""

from __future__ import annotations

import os
from pathlib import Path

from flue_sqla.snapshot.document import SNAPSHOT_VERSION, Header, Trailer
from flue_sqla.snapshot.reader import Blob, SnapshotReader
from flue_sqla.snapshot.report import SnapshotInfo, TableInfo

__all__ = ["info_of", "inspect"]


def inspect(path: str | os.PathLike[str]) -> SnapshotInfo:
    """What the file holds; no database is needed. Every byte is read and every checksum verified.

    Raises:
        SnapshotError: the file is truncated, damaged, of another version, or no snapshot.
    """
    target = Path(path)
    with SnapshotReader(target) as reader:
        for part in reader.parts():
            if isinstance(part, Blob):
                part.finish()
        assert reader.trailer is not None
        return info_of(target, reader.header, reader.trailer, reader.file_bytes)


def info_of(path: Path, header: Header, trailer: Trailer, file_bytes: int) -> SnapshotInfo:
    """Header and trailer as one answer."""
    return SnapshotInfo(
        path=str(path),
        version=SNAPSHOT_VERSION,
        format_version=header.format_version,
        schema_revision=header.schema_revision,
        tenant=header.tenant,
        tables={name: TableInfo(total.rows, total.sha256) for name, total in trailer.tables.items()},
        excluded=header.excluded,
        has_blobs=header.blobs,
        blobs=trailer.blobs,
        blob_bytes=trailer.blob_bytes,
        sha256=trailer.sha256,
        file_bytes=file_bytes,
    )
