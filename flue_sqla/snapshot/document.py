"""The two JSON documents of a snapshot: the header says what follows, the trailer what it must have been."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flue_sqla.errors import InvalidInputError, SnapshotError
from flue_sqla.wire import canonical_json, parse_json

__all__ = ["FORMAT", "SEGMENT_BYTES", "SNAPSHOT_VERSION", "Header", "TableTotal", "Trailer"]

FORMAT: Final = "flue-snapshot"
SNAPSHOT_VERSION: Final = 1
"""The version of the file format that this release writes and reads."""
SEGMENT_BYTES: Final = 1 << 20
"""A segment ends with the line that makes it at least this long."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Header:
    """``tables`` are the tables of the file in their order, each with its columns in the order of a row's values."""

    format_version: int
    schema_revision: str
    tables: Mapping[str, tuple[str, ...]]
    excluded: Mapping[str, str]
    blobs: bool
    tenant: str | None

    def to_bytes(self) -> bytes:
        document = {
            "format": FORMAT,
            "version": SNAPSHOT_VERSION,
            "formatVersion": self.format_version,
            "schemaRevision": self.schema_revision,
            "tenant": self.tenant,
            "blobs": self.blobs,
            "tables": [{"name": name, "columns": list(columns)} for name, columns in self.tables.items()],
            "excluded": dict(self.excluded),
        }
        return canonical_json(document).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Header:
        """Raises SnapshotError unless ``data`` is, byte for byte, a header that this release would write for what it says."""
        document = _parsed(data, "header")
        if document.get("format") != FORMAT:
            raise _wrong("header", "it is not the header of a snapshot")
        _check_version(document.get("version"))
        try:
            header = cls(
                format_version=_typed(document["formatVersion"], int),
                schema_revision=_typed(document["schemaRevision"], str),
                tables={_typed(entry["name"], str): tuple(_typed(name, str) for name in entry["columns"]) for entry in document["tables"]},
                excluded={_typed(name, str): _typed(reason, str) for name, reason in document["excluded"].items()},
                blobs=_typed(document["blobs"], bool),
                tenant=None if document["tenant"] is None else _typed(document["tenant"], str),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise _wrong("header", "a field is missing or of the wrong type") from error
        _same(header.to_bytes(), data, "header")
        return header


@dataclass(frozen=True)
class TableTotal:
    """``sha256`` is over all lines of the table, ends of lines included."""

    rows: int
    sha256: str


@dataclass(frozen=True)
class Trailer:
    """``sha256`` is over every byte of the (uncompressed) file before the trailer's own member."""

    tables: Mapping[str, TableTotal]
    blobs: int
    blob_bytes: int
    sha256: str

    def to_bytes(self) -> bytes:
        document = {
            "tables": {name: {"rows": total.rows, "sha256": total.sha256} for name, total in self.tables.items()},
            "blobs": {"count": self.blobs, "bytes": self.blob_bytes},
            "sha256": self.sha256,
        }
        return canonical_json(document).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Trailer:
        """Raises SnapshotError as :meth:`Header.from_bytes` does."""
        document = _parsed(data, "trailer")
        try:
            totals = {
                _typed(name, str): TableTotal(_typed(entry["rows"], int), _digest(entry["sha256"]))
                for name, entry in document["tables"].items()
            }
            blobs = document["blobs"]
            trailer = cls(totals, _typed(blobs["count"], int), _typed(blobs["bytes"], int), _digest(document["sha256"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise _wrong("trailer", "a field is missing or of the wrong type") from error
        _same(trailer.to_bytes(), data, "trailer")
        return trailer


def _check_version(version: Any) -> None:
    if version == SNAPSHOT_VERSION and type(version) is int:
        return
    raise SnapshotError(
        f"The snapshot has version {str(version)[:40]}; this release reads version {SNAPSHOT_VERSION}.",
        meta={"version": str(version)[:40], "supportedVersion": SNAPSHOT_VERSION},
        remedy="Import it with the release of flue-sqla that wrote it, or a later one.",
    )


def _parsed(data: bytes, what: str) -> dict[str, Any]:
    try:
        document = parse_json(data.decode())
    except (ValueError, RecursionError, InvalidInputError) as error:
        raise _wrong(what, "it is not JSON") from error
    if not isinstance(document, dict):
        raise _wrong(what, "it is not a JSON object")
    return document


def _same(written: bytes, read: bytes, what: str) -> None:
    if written != read:
        raise _wrong(what, "it is not as this library writes it")


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value


def _digest(value: Any) -> str:
    if type(value) is not str or not _DIGEST.fullmatch(value):
        raise TypeError
    return value


def _wrong(what: str, why: str) -> SnapshotError:
    return SnapshotError(
        f"The {what} of the snapshot is wrong: {why}.",
        meta={"member": what},
        remedy="Give a file that `flue-sqla snapshot export` wrote, unchanged.",
    )
