"""The container: a plain tar archive of which every byte is determined by what is in it.

Any ``tar`` lists and unpacks one. Reading is stricter than any ``tar``: a member's header must be byte for byte the one that
:func:`member_header` writes for its name and size, so there are no links, no devices, no owners, no times and no second way to say the
same thing.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from typing import IO, Final, Protocol

from flue_sqla.errors import SnapshotError

__all__ = ["BLOCK", "Member", "Sink", "Source", "TarReader", "TarWriter", "compressed", "decompressed", "member_header"]

BLOCK: Final = 512
_END: Final = bytes(2 * BLOCK)
_NAME: Final = re.compile(rb"[a-z0-9_][a-z0-9_.-]*(?:/[a-z0-9_][a-z0-9_.-]*){0,2}")
_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP_LEVEL: Final = 6
_COPY: Final = 1 << 20


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


class Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


def member_header(name: str, size: int) -> bytes:
    """The 512 bytes before a member: a regular file of mode 0600, owner 0, time 0 (``ustar``)."""
    fields = [
        (name.encode("ascii"), 100),
        (b"0000600", 8),
        (b"0000000", 8),
        (b"0000000", 8),
        (_number(size), 12),
        (b"00000000000", 12),
        (b"        ", 8),
        (b"0", 1),
        (b"", 100),
        (b"ustar\x0000", 8),
    ]
    block = b"".join(value.ljust(width, b"\0") for value, width in fields).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _number(size: int) -> bytes:
    if size < 1 << 33:
        return b"%011o" % size
    # Beyond 8 GiB eleven octal digits do not suffice: the base-256 form that GNU and POSIX readers know.
    return b"\x80" + size.to_bytes(11, "big")


class TarWriter:
    """Writes members one after another; the size of each is said before its bytes."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def add(self, name: str, data: bytes) -> None:
        """One whole member."""
        self.begin(name, len(data))
        self.write(data)
        self.end(len(data))

    def begin(self, name: str, size: int) -> None:
        self._sink.write(member_header(name, size))

    def write(self, data: bytes) -> None:
        self._sink.write(data)

    def end(self, size: int) -> None:
        """Fill the last block of a member of ``size`` bytes."""
        self._sink.write(bytes(-size % BLOCK))

    def finish(self) -> None:
        self._sink.write(_END)


class Member:
    """One member being read, from its first byte to its last."""

    def __init__(self, reader: TarReader, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self._reader = reader
        self._left = size

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes, all that are left by default; empty at the end of the member.

        Raises:
            SnapshotError: the file ends before the member does.
        """
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._reader.exactly(wanted, self.name)
        self._left -= wanted
        if wanted and not self._left:
            self._reader.padding(self.size, self.name)
        return data

    def skip(self) -> None:
        """Read on to the end of the member."""
        while self._left:
            self.read(_COPY)


class TarReader:
    """Reads what :class:`TarWriter` wrote, and nothing else."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._member: Member | None = None
        self.offset = 0

    def next(self) -> Member | None:
        """The next member, or None after the last one. Whatever is left of the member before is skipped.

        Raises:
            SnapshotError: the file is truncated, damaged, or was not written by this library.
        """
        if self._member is not None:
            self._member.skip()
        start = self.offset
        block = self.exactly(BLOCK, "the next member")
        if block == bytes(BLOCK):
            self._finish()
            return None
        name, size = _parse(block, start)
        self._member = Member(self, name, size)
        return self._member

    def exactly(self, size: int, what: str) -> bytes:
        """``size`` bytes; refuses a file that ends before."""
        data = _read(self._source, size)
        self.offset += len(data)
        if len(data) < size and self.offset < BLOCK:
            raise _damaged(self.offset, "it ends before anything that a snapshot begins with")
        if len(data) < size:
            raise SnapshotError(
                f"The file is truncated: it ends at byte {self.offset}, in {what}.",
                meta={"offset": self.offset, "member": what},
                remedy="Take the snapshot again, or copy the file again.",
            )
        return data

    def padding(self, size: int, name: str) -> None:
        """The zeros after a member of ``size`` bytes."""
        if self.exactly(-size % BLOCK, name).strip(b"\0"):
            raise _damaged(self.offset, f"there are bytes after the end of {name}")

    def _finish(self) -> None:
        if self.exactly(BLOCK, "the end mark").strip(b"\0") or _read(self._source, 1):
            raise _damaged(self.offset, "there are bytes after its end")


def _parse(block: bytes, offset: int) -> tuple[str, int]:
    raw_name = block[:100].rstrip(b"\0")
    if not _NAME.fullmatch(raw_name):
        raise _damaged(offset, f"a member has the name {raw_name[:60]!r}")
    raw_size = block[124:136]
    if raw_size[0] == 0x80:
        size = int.from_bytes(raw_size[1:], "big")
    elif re.fullmatch(rb"[0-7]{11}\0", raw_size):
        size = int(raw_size[:11], 8)
    else:
        raise _damaged(offset, "a member's size cannot be read")
    name = raw_name.decode("ascii")
    if block != member_header(name, size):
        raise _damaged(offset, f"the header of {name} is not one that a snapshot has")
    return name, size


def _damaged(offset: int, what: str) -> SnapshotError:
    return SnapshotError(
        f"This is not an undamaged snapshot: {what} (at byte {offset}).",
        meta={"offset": offset},
        remedy="Give a file that `flue-sqla snapshot export` wrote, and copy it in binary mode.",
    )


def compressed(sink: IO[bytes]) -> gzip.GzipFile:
    """A gzip stream over ``sink`` whose header holds neither a name nor a time."""
    return gzip.GzipFile(filename="", fileobj=sink, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0)


def decompressed(source: io.BufferedReader) -> Source:
    """``source`` itself, or what is inside when it is a gzip stream."""
    if source.peek(2)[:2] == _GZIP_MAGIC:
        return gzip.GzipFile(fileobj=source, mode="rb")
    return source


def _read(source: Source, size: int) -> bytes:
    pieces: list[bytes] = []
    try:
        # In pieces: a size that only a damaged header claims must not be allocated at once.
        while size > 0 and (piece := source.read(min(size, _COPY))):
            pieces.append(piece)
            size -= len(piece)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        what = "truncated" if isinstance(error, EOFError) else "damaged"
        raise SnapshotError(f"The compressed file is {what}.", remedy="Take the snapshot again, or copy the file again.") from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
