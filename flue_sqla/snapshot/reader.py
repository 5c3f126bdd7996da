"""Reads one snapshot file from its first byte to its last, and believes nothing of it that it has not checked."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from flue_sqla.errors import SnapshotError
from flue_sqla.snapshot.container import Member, Source, TarReader, decompressed
from flue_sqla.snapshot.document import SEGMENT_BYTES, Header, TableTotal, Trailer

__all__ = ["Blob", "Segment", "SnapshotReader"]

_DOCUMENT_BYTES: Final = 1 << 20
_ROW_BYTES: Final = 3 << 29
_SEGMENT: Final = re.compile(r"tables/([a-z0-9_]+)/([0-9]{8})\.jsonl")
_BLOB: Final = re.compile(r"blobs/([0-9a-f]{64})")
_PIECE: Final = 1 << 20


@dataclass(frozen=True)
class Segment:
    """Some rows of a table, in the order of the file."""

    table: str
    first_row: int
    lines: list[bytes]


class Blob:
    """The bytes of an artifact, to be read once, piece by piece. What is not read is read over."""

    def __init__(self, sha256: str, member: Member) -> None:
        self.sha256 = sha256
        self.size = member.size
        self._member = member
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        while piece := self._member.read(_PIECE):
            self._digest.update(piece)
            yield piece

    def finish(self) -> None:
        """Read what is left.

        Raises:
            SnapshotError: the bytes are not those of the name.
        """
        for _ in self:
            pass
        if self._digest.hexdigest() != self.sha256:
            raise _mismatch(f"blobs/{self.sha256}", "its bytes have another digest than its name says")


class SnapshotReader:
    """One pass over a file. ``rewind`` starts another one over the very same file, whatever its name means by then."""

    def __init__(self, path: Path) -> None:
        try:
            self._raw = path.open("rb")
        except OSError as error:
            raise SnapshotError(
                f"The file {str(path)!r} cannot be read: {error.strerror or error}.",
                meta={"path": str(path)},
                remedy="Name an existing, readable file.",
            ) from error
        self.rewind()

    def rewind(self) -> None:
        self._raw.seek(0)
        self._hashing = _Hashing(decompressed(self._raw))
        self._tar = TarReader(self._hashing)
        self._totals: dict[str, _Running] = {}
        self._last_blob = ""
        self._blob_count = 0
        self._blob_bytes = 0
        self.header = self._read_header()
        self.trailer: Trailer | None = None

    @property
    def file_bytes(self) -> int:
        """The size of the file as it lies on the disk."""
        return os.fstat(self._raw.fileno()).st_size

    def parts(self) -> Iterator[Segment | Blob]:
        """Everything between header and trailer. The end is reached only when all checksums and counts are right.

        Raises:
            SnapshotError: the file is truncated, damaged, or not what its header says.
        """
        order = iter(self.header.tables)
        current: str | None = None
        while True:
            digest = self._hashing.digest.copy()
            member = self._tar.next()
            if member is None:
                raise _mismatch("trailer.json", "it is missing")
            if member.name == "trailer.json":
                self._finish(member, digest.hexdigest())
                return
            if found := _SEGMENT.fullmatch(member.name):
                if current != found[1]:
                    current = self._advance(order, found[1])
                yield self._segment(found[1], int(found[2]), member)
            elif found := _BLOB.fullmatch(member.name):
                order = iter(())
                yield from self._blob(found[1], member)
            else:
                raise _mismatch(member.name, "a snapshot has no such member")

    def close(self) -> None:
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_header(self) -> Header:
        member = self._tar.next()
        if member is None or member.name != "header.json":
            raise _mismatch("header.json", "the file does not begin with it")
        return Header.from_bytes(_document(member))

    def _advance(self, order: Iterator[str], wanted: str) -> str:
        for name in order:
            if name == wanted:
                return name
        raise _mismatch(f"tables/{wanted}", "the header does not announce it here")

    def _segment(self, table: str, number: int, member: Member) -> Segment:
        running = self._totals.setdefault(table, _Running())
        if number != running.segments + 1 or running.ended:
            raise _mismatch(member.name, "a segment is missing or out of place")
        data = _segment_data(member)
        lines = data[:-1].split(b"\n")
        first = running.rows + 1
        running.add(data, len(lines))
        return Segment(table, first, lines)

    def _blob(self, sha256: str, member: Member) -> Iterator[Blob]:
        if not self.header.blobs:
            raise _mismatch(member.name, "the header says that there are no blobs")
        if self._last_blob >= sha256:
            raise _mismatch(member.name, "the blobs are not in order")
        self._last_blob = sha256
        blob = Blob(sha256, member)
        yield blob
        blob.finish()
        self._blob_count += 1
        self._blob_bytes += blob.size

    def _finish(self, member: Member, digest: str) -> None:
        trailer = Trailer.from_bytes(_document(member))
        found = Trailer({name: self._total(name) for name in self.header.tables}, self._blob_count, self._blob_bytes, digest)
        for name in dict.fromkeys((*trailer.tables, *found.tables)):
            if trailer.tables.get(name) != found.tables.get(name):
                raise _mismatch(f"tables/{name}", "its rows or their checksum are not what the trailer says")
        if trailer != found:
            raise _mismatch("trailer.json", "the checksum over all, or the number of blobs, is not what it says")
        if self._tar.next() is not None:
            raise _mismatch("trailer.json", "there are members after it")
        self.trailer = trailer

    def _total(self, table: str) -> TableTotal:
        return self._totals.get(table, _Running()).total()


class _Running:
    """What was read of one table so far."""

    def __init__(self) -> None:
        self.segments = 0
        self.rows = 0
        self.ended = False
        self._digest = hashlib.sha256()

    def add(self, data: bytes, rows: int) -> None:
        self.segments += 1
        self.rows += rows
        # Only the last segment is short: what the file looks like depends on nothing but its rows.
        self.ended = len(data) < SEGMENT_BYTES
        self._digest.update(data)

    def total(self) -> TableTotal:
        return TableTotal(self.rows, self._digest.hexdigest())


class _Hashing:
    """Reads and hashes."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self.digest.update(data)
        return data


def _document(member: Member) -> bytes:
    if member.size > _DOCUMENT_BYTES:
        raise _mismatch(member.name, f"it is longer than {_DOCUMENT_BYTES} bytes")
    return member.read()


def _segment_data(member: Member) -> bytes:
    if member.size > SEGMENT_BYTES + _ROW_BYTES:
        raise _mismatch(member.name, "it is too long")
    data = member.read()
    # All lines but the last together stay below the limit, so memory is bounded by one row and one segment.
    if not data.endswith(b"\n") or data.rfind(b"\n", 0, -1) >= SEGMENT_BYTES:
        raise _mismatch(member.name, "its lines are not where they have to be")
    return data


def _mismatch(member: str, why: str) -> SnapshotError:
    return SnapshotError(
        f"The snapshot is damaged or was changed: {member}: {why}.",
        meta={"member": member},
        remedy="Copy the file again, or take another snapshot.",
    )
