"""How a stream of unknown length is cut into parts, and how its digest is computed beside the upload."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from flue_sqla.errors import ArtifactTooLargeError

__all__ = ["MIB", "Assembler", "PartPlan", "StreamDigest"]

MIB = 1024 * 1024
_DOUBLINGS = 10
# Below this a thread switch costs more than the hash.
_INLINE_HASH = 256 * 1024
_BEHIND = 3


@dataclass(frozen=True, slots=True)
class PartPlan:
    """Sizes in bytes of the parts of one upload.

    A stream of known length has equal parts. One of unknown length doubles its part size after every tenth of ``max_parts``, so that
    10,000 parts of 8 MiB reach beyond S3's largest object while an ordinary upload never leaves the first size.
    """

    part_size: int = 8 * MIB
    max_parts: int = 10_000

    def size_of(self, number: int, total: int | None = None) -> int:
        """The size of part ``number`` (from 0); ``total`` is a hint and may turn out wrong.

        Raises:
            ArtifactTooLargeError: the store takes no further part.
        """
        if number >= self.max_parts:
            raise ArtifactTooLargeError(
                f"The stream does not fit into {self.max_parts} parts.",
                meta={"maxParts": self.max_parts, "partSize": self.part_size},
                remedy="Use a larger part size (s3_part_size).",
            )
        if total is not None and number * self.uniform(total) < total:
            return self.uniform(total)
        return self.part_size << (number // max(1, self.max_parts // _DOUBLINGS))

    def uniform(self, total: int) -> int:
        """The one part size with which ``total`` bytes fit into ``max_parts`` parts."""
        return max(self.part_size, -(-total // self.max_parts))


class Assembler:
    """Collects chunks of any size into parts of the planned sizes."""

    def __init__(self, plan: PartPlan, total: int | None) -> None:
        self._plan = plan
        self._total = total
        self._number = 0
        self._size = plan.size_of(0, total)
        self._pieces: list[bytes | bytearray | memoryview] = []
        self._held = 0

    @property
    def wanted(self) -> int:
        """How many bytes complete the current part: what to ask a source for, so that nothing is copied."""
        return self._size - self._held

    def feed(self, chunk: bytes | bytearray | memoryview) -> Iterator[bytes]:
        """Add ``chunk``; yields each part that it completes."""
        if isinstance(chunk, bytes) and len(chunk) <= self.wanted:
            self._pieces.append(chunk)
            self._held += len(chunk)
            if not self.wanted:
                yield self._cut()
            return
        view = memoryview(chunk)
        while view:
            piece = view[: self.wanted]
            # A copy, unless the piece is all there is of an immutable chunk: its owner may reuse the buffer.
            self._pieces.append(bytes(piece))
            self._held += len(piece)
            view = view[len(piece) :]
            if not self.wanted:
                yield self._cut()

    def rest(self) -> bytes:
        """What is left at the end of the stream; empty when it ended with a full part."""
        return self._take()

    def _cut(self) -> bytes:
        part = self._take()
        self._number += 1
        self._size = self._next_size()
        return part

    def _next_size(self) -> int:
        if self._number >= self._plan.max_parts:
            return 1  # the stream may end here; one byte more and feed() refuses it
        return self._plan.size_of(self._number, self._total)

    def _take(self) -> bytes:
        if self._number >= self._plan.max_parts and self._held:
            self._plan.size_of(self._number)
        part = bytes(self._pieces[0]) if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        return part


class StreamDigest:
    """SHA-256 and size of a stream. Large parts are hashed on a thread, a few behind the upload, which holds them anyway."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._worker: ThreadPoolExecutor | None = None
        self._pending: deque[Future[None]] = deque()
        self.size = 0

    def add(self, part: bytes) -> None:
        """Hash ``part``; waits while too many are behind."""
        while len(self._pending) >= _BEHIND:
            self._pending.popleft().result()
        self._submit(part)

    async def add_async(self, part: bytes) -> None:
        """As :meth:`add`, without blocking the event loop."""
        await self.settle_async(_BEHIND - 1)
        self._submit(part)

    async def settle_async(self, behind: int = 0) -> None:
        """Wait until no more than ``behind`` parts are still to be hashed."""
        while len(self._pending) > behind:
            oldest = self._pending.popleft()
            if not oldest.done():
                await asyncio.wrap_future(oldest)

    def hexdigest(self) -> str:
        """64 lower-case hex digits; call it after the last part."""
        while self._pending:
            self._pending.popleft().result()
        self.close()
        return self._sha256.hexdigest()

    def close(self) -> None:
        """Let the thread end."""
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)
            self._worker = None

    def _submit(self, part: bytes) -> None:
        self.size += len(part)
        if self._worker is None and len(part) < _INLINE_HASH:
            self._sha256.update(part)
            return
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="flue-digest")
        self._pending.append(self._worker.submit(self._sha256.update, part))
