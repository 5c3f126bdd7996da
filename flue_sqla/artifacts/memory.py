"""An object store in this process's memory, for tests and throw-away programs."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO, ClassVar

from flue_sqla.artifacts.failures import failure, filesystem
from flue_sqla.artifacts.keys import check_key
from flue_sqla.artifacts.parts import PartPlan
from flue_sqla.artifacts.store import Buffer, ObjectInfo
from flue_sqla.errors import ArtifactConflictError

__all__ = ["MemoryStore"]


class MemoryStore:
    """A dictionary of bytes behind a lock. Two stores of one non-empty name share it."""

    kind = "memory"
    _named: ClassVar[dict[str, dict[str, tuple[bytes, int]]]] = {}

    def __init__(self, name: str = "", plan: PartPlan | None = None) -> None:
        self.plan = plan or PartPlan()
        self._lock = threading.Lock()
        self._objects: dict[str, tuple[bytes, int]] = self._named.setdefault(name, {}) if name else {}

    def begin(self, key: str, *, size: int | None = None, content_type: str | None = None) -> MemoryUpload:
        return MemoryUpload(self, check_key(key))

    def open(self, key: str, size: int) -> BinaryIO:
        return io.BytesIO(self._bytes(key))

    def read_range(self, key: str, start: int, end: int) -> bytes:
        return self._bytes(key)[start:end]

    def stat(self, key: str) -> ObjectInfo | None:
        found = self._objects.get(check_key(key))
        return ObjectInfo(key, len(found[0]), found[1]) if found else None

    def delete(self, key: str) -> None:
        self._objects.pop(check_key(key), None)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._lock:
            found = sorted(self._objects.items())
        return iter([ObjectInfo(key, len(data), stored_at) for key, (data, stored_at) in found if key.startswith(prefix)])

    def presign(self, key: str, expires_in: int) -> str:
        raise failure("presign", key, "unsupported", place=filesystem("memory"), detail="memory has no URLs")

    def discard_uploads(self, older_than: int) -> int | None:
        return 0

    def create(self) -> None:
        """There is nothing to create."""

    def close(self) -> None:
        """The bytes go with the process."""

    def store(self, key: str, data: bytes) -> None:
        """Keep ``data`` under ``key`` unless the key is taken."""
        with self._lock:
            if key in self._objects:
                raise ArtifactConflictError(f"{key!r} is stored already.", meta={"key": key}, remedy="Put the bytes again.")
            self._objects[key] = (data, time.time_ns() // 1_000_000)

    def _bytes(self, key: str) -> bytes:
        found = self._objects.get(check_key(key))
        if found is None:
            raise failure("read", key, "missing", place=filesystem("memory"))
        return found[0]


class MemoryUpload:
    """Parts in a list until they are complete."""

    def __init__(self, store: MemoryStore, key: str) -> None:
        self._store = store
        self._key = key
        self._parts: list[bytes] = []

    def send(self, part: Buffer) -> None:
        self._parts.append(bytes(part))

    def complete(self) -> None:
        self._store.store(self._key, b"".join(self._parts))

    def abort(self) -> None:
        self._parts.clear()
