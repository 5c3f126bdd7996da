"""Writes one snapshot file: under a temporary name, for the owner's eyes only, renamed when it is complete."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Self

from flue_sqla.errors import SnapshotError
from flue_sqla.snapshot.container import Sink, TarWriter, compressed
from flue_sqla.snapshot.document import SEGMENT_BYTES, Header, TableTotal, Trailer

__all__ = ["SnapshotWriter"]


class SnapshotWriter:
    """Header, tables, blobs and trailer, in this order. As a context manager: a file on success, nothing on failure.

    A path that ends in ``.gz`` is compressed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        self._totals: dict[str, TableTotal] = {}
        self._blobs = 0
        self._blob_bytes = 0
        self._file: IO[bytes] = self._open()
        self._stream: Any = compressed(self._file) if path.name.endswith(".gz") else self._file
        self._sink = _Hashing(self._stream)
        self._tar = TarWriter(self._sink)

    def header(self, header: Header) -> None:
        self._tar.add("header.json", header.to_bytes())

    def table(self, name: str, lines: Iterable[bytes]) -> TableTotal:
        """All lines of one table, each with its end of line."""
        digest = hashlib.sha256()
        rows = 0
        for number, (count, segment) in enumerate(_segments(lines), start=1):
            digest.update(segment)
            rows += count
            self._tar.add(f"tables/{name}/{number:08d}.jsonl", segment)
        self._totals[name] = TableTotal(rows, digest.hexdigest())
        return self._totals[name]

    def blob(self, sha256: str, size: int, pieces: Iterable[bytes]) -> None:
        """The bytes of an artifact, under their digest.

        Raises:
            SnapshotError: the bytes are not those of the digest.
        """
        self._tar.begin(f"blobs/{sha256}", size)
        digest = hashlib.sha256()
        written = 0
        for piece in pieces:
            digest.update(piece)
            written += len(piece)
            if written > size:
                break
            self._tar.write(piece)
        if written != size or digest.hexdigest() != sha256:
            raise SnapshotError(
                f"The object store has other bytes than the artifact's row says (digest {sha256}).",
                meta={"sha256": sha256, "size": size, "found": written},
                remedy="Run `flue-sqla artifacts verify`, and restore or delete the artifact.",
            )
        self._tar.end(size)
        self._blobs += 1
        self._blob_bytes += size

    def finish(self) -> Trailer:
        """Write the trailer, make the file durable and give it its name."""
        trailer = Trailer(dict(self._totals), self._blobs, self._blob_bytes, self._sink.digest.hexdigest())
        self._tar.add("trailer.json", trailer.to_bytes())
        self._tar.finish()
        if self._stream is not self._file:
            self._stream.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self._path)
        _make_durable(self._path.parent)
        return trailer

    def discard(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError, ValueError):
            self._file.close()
        with contextlib.suppress(FileNotFoundError):
            self._temporary.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.discard()

    def _open(self) -> IO[bytes]:
        if self._path.exists() and not self._path.is_file():
            # A folder cannot be replaced, and a device must not be: /dev/null would be a file ever after.
            raise OSError(errno.EINVAL, "It is no file")
        descriptor = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        return os.fdopen(descriptor, "wb", buffering=SEGMENT_BYTES)


class _Hashing:
    """Passes bytes on and hashes them."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self._sink.write(data)


def _segments(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines in pieces of bounded size, which depend on nothing but the lines."""
    pending: list[bytes] = []
    size = 0
    for line in lines:
        pending.append(line)
        size += len(line)
        if size >= SEGMENT_BYTES:
            yield len(pending), b"".join(pending)
            pending, size = [], 0
    if pending:
        yield len(pending), b"".join(pending)


def _make_durable(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
