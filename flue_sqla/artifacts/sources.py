"""What ``put`` takes: bytes, a path, a readable binary file, or an iterator of bytes; on the async face also their async forms."""

from __future__ import annotations

import inspect
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, cast

from flue_sqla.artifacts.bridges import Call
from flue_sqla.artifacts.store import Buffer
from flue_sqla.errors import InvalidInputError

__all__ = ["AnySource", "ByteSource", "source_of"]

_END: Any = object()

AnySource = Buffer | str | os.PathLike[str] | Iterable[bytes] | AsyncIterable[bytes] | Any


class ByteSource(Protocol):
    """A stream of bytes; ``size`` is a hint in bytes, where it is known before."""

    size: int | None

    async def read(self, wanted: int) -> Buffer:
        """The next bytes, at best ``wanted`` of them; empty at the end."""
        ...

    async def close(self) -> None:
        """Close what was opened here, never what the caller gave open."""
        ...


def source_of(given: AnySource, call: Call, *, allow_async: bool) -> ByteSource:
    """The byte source for what the caller gave; blocking reads go through ``call``.

    Raises:
        InvalidInputError: it is none of the kinds that can be read.
    """
    if isinstance(given, bytes | bytearray | memoryview):
        return _Bytes(cast(Buffer, given))
    if isinstance(given, str | os.PathLike):
        return _PathSource(Path(given), call)
    read = getattr(given, "read", None)
    if read is not None:
        if inspect.iscoroutinefunction(read):
            _need_async(allow_async)
            return _AsyncFile(given)
        return _FileSource(given, call)
    if isinstance(given, AsyncIterable):
        _need_async(allow_async)
        return _AsyncChunks(given.__aiter__())
    if isinstance(given, Iterable):
        return _Chunks(cast(Iterator[bytes], iter(given)), call)
    raise InvalidInputError(
        f"Cannot read bytes from {type(given).__name__}.",
        remedy="Give bytes, a path, a file opened in binary mode, or an iterator of bytes.",
    )


class _Bytes:
    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(_plain(data))
        self._data: bytes | None = data if isinstance(data, bytes) else None
        self.size: int | None = len(self._view)

    async def read(self, wanted: int) -> Buffer:
        if self._data is not None and len(self._data) <= wanted:
            data, self._data = self._data, None
            self._view = self._view[:0]
            return data
        self._data = None
        piece, self._view = self._view[:wanted], self._view[wanted:]
        return piece

    async def close(self) -> None:
        self._view.release()


class _FileSource:
    def __init__(self, file: Any, call: Call) -> None:
        self._file = file
        self._call = call
        self.size = _rest_of(file)

    async def read(self, wanted: int) -> Buffer:
        return _checked(await self._call(self._file.read, wanted))

    async def close(self) -> None:
        return None


class _PathSource:
    def __init__(self, path: Path, call: Call) -> None:
        self._path = path
        self._call = call
        self._file: Any = None
        self.size = _size_of(path)

    async def read(self, wanted: int) -> Buffer:
        if self._file is None:
            self._file = await self._call(self._path.open, "rb", 0)
        data: bytes = await self._call(self._file.read, wanted)
        return data

    async def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _Chunks:
    size: int | None = None

    def __init__(self, chunks: Iterator[bytes], call: Call) -> None:
        self._chunks = chunks
        self._call = call

    async def read(self, wanted: int) -> Buffer:
        # An empty chunk is not the end.
        while (chunk := await self._call(next, self._chunks, _END)) is not _END:
            if len(data := _checked(chunk)):
                return data
        return b""

    async def close(self) -> None:
        return None


class _AsyncChunks:
    size: int | None = None

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks

    async def read(self, wanted: int) -> Buffer:
        async for chunk in self._chunks:
            if len(data := _checked(chunk)):
                return data
        return b""

    async def close(self) -> None:
        return None


class _AsyncFile:
    size: int | None = None

    def __init__(self, file: Any) -> None:
        self._file = file

    async def read(self, wanted: int) -> Buffer:
        return _checked(await self._file.read(wanted))

    async def close(self) -> None:
        return None


def _checked(data: Any) -> Buffer:
    if isinstance(data, bytes | bytearray | memoryview):
        return _plain(data)
    raise InvalidInputError(
        f"The source gave {type(data).__name__}, not bytes.", remedy="Open the file in binary mode; encode text before storing it."
    )


def _plain(data: Buffer) -> Buffer:
    """``data``, whose length is its size: that of a view counts items, which need not be bytes."""
    if not isinstance(data, memoryview):
        return data
    try:
        return data.cast("B")
    except TypeError:  # there are gaps between its items
        return data.tobytes()


def _need_async(allowed: bool) -> None:
    if not allowed:
        raise InvalidInputError("An async source needs AsyncFlue.", remedy="Use AsyncFlue, or collect the source first.")


def _size_of(path: Path) -> int | None:
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no file has such a name"
        raise InvalidInputError(
            f"The file to store cannot be read: {reason}.", meta={"path": str(path)}, remedy="Name a readable file."
        ) from error
    if stat.S_ISDIR(found.st_mode):
        raise InvalidInputError("A folder cannot be stored as an artifact.", meta={"path": str(path)}, remedy="Name a file.")
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _rest_of(file: Any) -> int | None:
    """What is left of a regular file; None where nobody can tell, which is no error."""
    try:
        found = os.fstat(file.fileno())
        return max(0, found.st_size - file.tell()) if stat.S_ISREG(found.st_mode) else None
    except (AttributeError, OSError, ValueError):
        return None
