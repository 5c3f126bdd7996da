"""Seekable binary files over an object, reading ahead: one blocking, one async; both may check the digest on the way."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Self

from flue_sqla.artifacts.parts import MIB
from flue_sqla.artifacts.readahead import Block, Pace, ReadAhead
from flue_sqla.artifacts.store import AsyncReader, Buffer
from flue_sqla.errors import ArtifactIntegrityError, InvalidInputError

__all__ = [
    "AsyncArtifactFile",
    "AsyncRangeReader",
    "AwaitedReader",
    "DigestCheck",
    "RangeReader",
    "StoredFile",
    "VerifyingReader",
    "cut_out",
    "seek_target",
]


async def cut_out(pieces: AsyncIterator[Any], start: int, end: int) -> bytes:
    """The range out of a whole object, from a server that answers with all of it; never more than a piece is held besides."""
    position, found = 0, bytearray()
    async for piece in pieces:
        found += bytes(piece)[max(0, start - position) : max(0, end - position)]
        position += len(piece)
        if position >= end:
            break
    return bytes(found)


def seek_target(offset: int, whence: int, position: int, size: int) -> int:
    """The absolute position that ``seek(offset, whence)`` names."""
    base = {io.SEEK_SET: 0, io.SEEK_CUR: position, io.SEEK_END: size}.get(whence)
    if base is None or base + offset < 0:
        raise InvalidInputError("A seek must end at or after the start of the file.", meta={"offset": offset, "whence": whence})
    return base + offset


class _RawFile(io.RawIOBase):
    """What the raw files here have in common."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readall(self) -> bytes:
        # io's own goes in steps of 8 KiB, each of them a call into Python.
        pieces: list[bytes] = []
        while piece := self.read(MIB):
            pieces.append(piece)
        return b"".join(pieces)


class RangeReader(_RawFile):
    """A blocking raw file over ranges that arrive as futures of another thread."""

    def __init__(self, size: int, fetch: Callable[[int, int], Future[Buffer]], pace: Pace) -> None:
        self._size = size
        self._position = 0
        self._window: ReadAhead[Future[Buffer]] = ReadAhead(size, fetch, Future.cancel, pace)

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = seek_target(offset, whence, self._position, self._size)
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        block = self._window.locate(self._position, len(view))
        if block is None:
            return 0
        try:
            data = block.handle.result()
        except BaseException:
            self._window.reset()
            raise
        piece = _slice(data, block, self._position, len(view))
        view[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            self._window.reset()
        super().close()


class StoredFile(_RawFile):
    """A file of a filesystem; what fails while it is read is told as ``failures`` tells it."""

    def __init__(self, file: Any, failures: Callable[[], AbstractContextManager[None]]) -> None:
        self._file = file
        self._failures = failures

    def fileno(self) -> int:
        return int(self._file.fileno())

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        with self._failures():
            return int(self._file.readinto(buffer))

    def readall(self) -> bytes:
        with self._failures():
            return bytes(self._file.read())

    def close(self) -> None:
        self._file.close()
        super().close()


class AsyncRangeReader:
    """The async twin of :class:`RangeReader`; fetches are tasks of the running loop."""

    def __init__(self, size: int, fetch: Callable[[int, int], Awaitable[Buffer]], pace: Pace) -> None:
        self._size = size
        self._position = 0
        self._window: ReadAhead[asyncio.Future[Buffer]] = ReadAhead(
            size, lambda start, end: asyncio.ensure_future(fetch(start, end)), _drop, pace
        )

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = seek_target(offset, whence, self._position, self._size)
        return self._position

    async def read(self, size: int = -1) -> bytes:
        wanted = self._size - self._position if size < 0 else size
        pieces: list[Buffer] = []
        while wanted > 0 and (block := self._window.locate(self._position, wanted)) is not None:
            try:
                # Shielded: a cancelled read leaves the block to the next one.
                data = await asyncio.shield(block.handle)
            except asyncio.CancelledError:
                raise
            except BaseException:
                self._window.reset()
                raise
            piece = _slice(data, block, self._position, wanted)
            pieces.append(piece)
            self._position += len(piece)
            wanted -= len(piece)
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)

    async def aclose(self) -> None:
        self._window.reset()


class AwaitedReader:
    """A blocking file whose reads are awaited through ``call``."""

    def __init__(self, file: BinaryIO, call: Callable[..., Awaitable[Any]]) -> None:
        self._file = file
        self._call = call

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    async def read(self, size: int = -1) -> bytes:
        data: bytes = await self._call(self._file.read, size)
        return data

    async def aclose(self) -> None:
        await self._call(self._file.close)


class DigestCheck:
    """Follows a reader and compares the digest once every byte has passed in order.

    Bytes may be read again after a seek back; a reader that skips some is simply never found complete.
    """

    def __init__(self, artifact_id: str, size: int, sha256: str) -> None:
        self._artifact_id = artifact_id
        self._size = size
        self._expected = sha256
        self._hash = hashlib.sha256()
        self._hashed = 0
        self.complete = False

    @property
    def empty(self) -> bool:
        """Whether there is no byte to wait for."""
        return self._size == 0

    def saw(self, position: int, data: bytes | memoryview) -> None:
        """Note that ``data`` was read at ``position``; empty data is the end of the file.

        Raises:
            ArtifactIntegrityError: all bytes have passed and are not those that were stored.
        """
        end = position + len(data)
        if len(data) and end > self._size:
            raise self.error("it is longer")
        if position <= self._hashed < end:
            self._hash.update(data[self._hashed - position :])
            self._hashed = end
        if not data and position < self._size:
            raise self.error(f"it ends at byte {position}")
        if self._hashed == self._size and not self.complete:
            if self._hash.hexdigest() != self._expected:
                raise self.error("its digest differs")
            self.complete = True

    def error(self, reason: str) -> ArtifactIntegrityError:
        return ArtifactIntegrityError(
            f"Artifact {self._artifact_id!r} is not what was stored: {reason}.",
            meta={"artifactId": self._artifact_id, "size": self._size, "sha256": self._expected, "reason": reason},
            remedy="Restore the object from a backup of the object store.",
        )


class VerifyingReader(_RawFile):
    """A raw file that raises at the last byte when the content is not what was stored."""

    def __init__(self, file: BinaryIO, check: DigestCheck) -> None:
        self._file = file
        self._check = check
        if check.empty:
            check.saw(0, b"")

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        position = self._file.tell()
        count: int = self._file.readinto(view)  # type: ignore[attr-defined]
        if len(view):
            self._check.saw(position, view[:count])
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class AsyncArtifactFile:
    """What ``AsyncArtifacts.open`` gives: ``await read(n)``, ``seek``, ``tell``, ``async for`` chunks, ``async with``."""

    def __init__(self, reader: AsyncReader, size: int, check: DigestCheck | None = None) -> None:
        self._reader = reader
        self._check = check
        self.size = size
        if check is not None and check.empty:
            check.saw(0, b"")

    async def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes, fewer only at the end; all that is left when negative.

        Raises:
            ArtifactStoreError: the store failed.
            ArtifactIntegrityError: opened with ``verify=True`` and the last byte was read, but the content is not what was stored.
        """
        position = self._reader.tell()
        try:
            data = await self._reader.read(size)
        except BaseException:
            # What a cancelled or failed call has read was given to nobody: the next one begins there.
            self._reader.seek(position)
            raise
        if self._check is not None and size != 0:
            self._check.saw(position, data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to another byte; fetches nothing."""
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        """The position of the next byte."""
        return self._reader.tell()

    async def aclose(self) -> None:
        """Stop reading ahead."""
        await self._reader.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self.read(MIB):
            yield chunk


def _slice(data: Buffer, block: Block[Any], position: int, wanted: int) -> Buffer:
    if len(data) != block.end - block.start:
        # The size comes from the row; a store that gives less has lost or replaced bytes.
        raise ArtifactIntegrityError(
            "The stored object is shorter than its row says.",
            meta={"expected": block.end - block.start, "found": len(data), "start": block.start},
            remedy="Restore the object from a backup of the object store.",
        )
    offset = position - block.start
    if offset == 0 and wanted >= len(data):
        return data
    return memoryview(data)[offset : offset + wanted]


def _drop(task: asyncio.Future[Buffer]) -> None:
    if not task.cancel() and not task.cancelled():
        task.exception()  # marks it as retrieved
