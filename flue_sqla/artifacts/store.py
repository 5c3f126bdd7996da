"""The port to an object store, blocking and async.

An engine implements the variant that is native to it: folders, memory and generic fsspec filesystems block; s3fs and obstore are async.
``bridges.py`` turns each into the other, so everything above this port is written once. Keys are relative to the store's root.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol, runtime_checkable

from flue_sqla.artifacts.parts import PartPlan
from flue_sqla.artifacts.readahead import Pace

__all__ = ["AsyncObjectStore", "AsyncReader", "AsyncUpload", "Buffer", "ObjectInfo", "ObjectStore", "RangedStore", "Upload"]

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One stored object: ``size`` in bytes, ``modified_at`` in epoch milliseconds of the store's clock."""

    key: str
    size: int
    modified_at: int


class Upload(Protocol):
    """One object being written. Nothing is visible under its key until ``complete`` returns."""

    def send(self, part: Buffer) -> None:
        """Take the next part; may return before it is stored. The caller never changes ``part`` afterwards."""
        ...

    def complete(self) -> None:
        """Make the object visible and durable."""
        ...

    def abort(self) -> None:
        """Remove whatever was sent. Safe at any moment, repeatedly, and after a ``complete`` that failed."""
        ...


class ObjectStore(Protocol):
    """Blocking access to the objects below one root."""

    @property
    def kind(self) -> str:
        """``fs``, ``s3``, ``memory`` or the scheme of another filesystem."""
        ...

    @property
    def plan(self) -> PartPlan:
        """The sizes of the parts that an upload is to be sent."""
        ...

    def begin(self, key: str, *, size: int | None = None, content_type: str | None = None) -> Upload:
        """An upload to ``key`` that has not begun; ``size`` in bytes is a hint that chooses the part size."""
        ...

    def open(self, key: str, size: int) -> BinaryIO:
        """A readable, seekable binary file over the ``size`` bytes of ``key``, reading ahead."""
        ...

    def read_range(self, key: str, start: int, end: int) -> bytes:
        """The bytes from ``start`` up to ``end``, fetching no others; fewer when the object is shorter."""
        ...

    def stat(self, key: str) -> ObjectInfo | None:
        """What is stored under ``key``, or None."""
        ...

    def delete(self, key: str) -> None:
        """Remove ``key``; it is no error when it does not exist."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key starts with ``prefix``, in no particular order."""
        ...

    def presign(self, key: str, expires_in: int) -> str:
        """A URL that reads ``key`` without credentials for ``expires_in`` seconds.

        Raises:
            ArtifactStoreError: this kind of store cannot.
        """
        ...

    def discard_uploads(self, older_than: int) -> int | None:
        """Remove unfinished uploads untouched since ``older_than`` (epoch ms); how many, or None where the store cannot tell."""
        ...

    def create(self) -> None:
        """Create the bucket or folder unless it exists."""
        ...

    def close(self) -> None:
        """Release connections and threads. The store is not used afterwards."""
        ...


class AsyncUpload(Protocol):
    """As :class:`Upload`, awaited."""

    async def send(self, part: Buffer) -> None: ...

    async def complete(self) -> None: ...

    async def abort(self) -> None: ...


@runtime_checkable
class AsyncReader(Protocol):
    """A readable, seekable binary file, awaited."""

    async def read(self, size: int = -1) -> bytes: ...

    def seek(self, offset: int, whence: int = 0) -> int: ...

    def tell(self) -> int: ...

    async def aclose(self) -> None: ...


class AsyncObjectStore(Protocol):
    """As :class:`ObjectStore`, awaited."""

    @property
    def kind(self) -> str: ...

    @property
    def plan(self) -> PartPlan: ...

    def begin(self, key: str, *, size: int | None = None, content_type: str | None = None) -> AsyncUpload: ...

    async def open(self, key: str, size: int) -> AsyncReader: ...

    async def read_range(self, key: str, start: int, end: int) -> bytes: ...

    async def stat(self, key: str) -> ObjectInfo | None: ...

    async def delete(self, key: str) -> None: ...

    def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]: ...

    async def presign(self, key: str, expires_in: int) -> str: ...

    async def discard_uploads(self, older_than: int) -> int | None: ...

    async def create(self) -> None: ...

    async def close(self) -> None: ...


class RangedStore(AsyncObjectStore, Protocol):
    """An async store whose files are read by ranges, at this pace."""

    @property
    def pace(self) -> Pace: ...

    async def fetch(self, key: str, start: int, end: int) -> Buffer:
        """As ``read_range``, in whatever form the engine's buffer has, so that a reader copies it only once."""
        ...
