"""Any other fsspec filesystem (``gs://``, ``abfs://``, ``sftp://``, …) as an object store."""

from __future__ import annotations

import io
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO

from flue_sqla.artifacts.failures import filesystem_failures
from flue_sqla.artifacts.keys import check_key
from flue_sqla.artifacts.options import StoreOptions
from flue_sqla.artifacts.parts import MIB, PartPlan
from flue_sqla.artifacts.readers import StoredFile
from flue_sqla.artifacts.store import Buffer, ObjectInfo
from flue_sqla.errors import ConfigurationError

__all__ = ["FsspecStore"]

_INCOMING = "_incoming"
_OURS = re.compile(r"/[0-9a-f]{32}\Z")


class FsspecStore:
    """Objects below a path of an fsspec filesystem that is this store's alone.

    A filesystem need not write atomically, so bytes go to a name of their own and are moved when complete; what a crash leaves there is
    found by :meth:`discard_uploads`.
    """

    def __init__(self, options: StoreOptions) -> None:
        self.kind = options.scheme
        self.plan = PartPlan(options.part_size, 2**40)
        self._options = options
        self._pid = os.getpid()
        self._open_fs, self._root = _filesystem(options)

    def begin(self, key: str, *, size: int | None = None, content_type: str | None = None) -> FsspecUpload:
        return FsspecUpload(self._fs, self.kind, self._incoming(), self._path(key), key)

    def open(self, key: str, size: int) -> BinaryIO:
        failures = partial(filesystem_failures, "read", key, self.kind)
        with failures():
            file = self._fs.open(self._path(key), "rb")
        return io.BufferedReader(StoredFile(file, failures), MIB)

    def read_range(self, key: str, start: int, end: int) -> bytes:
        with filesystem_failures("read", key, self.kind):
            data = self._fs.cat_file(self._path(key), start=start, end=end) if start < end else b""
            return bytes(data)

    def stat(self, key: str) -> ObjectInfo | None:
        with filesystem_failures("look at", key, self.kind):
            try:
                self._fs.invalidate_cache()
                return _info(key, self._fs.info(self._path(key)))
            except FileNotFoundError:
                return None

    def delete(self, key: str) -> None:
        with filesystem_failures("delete", key, self.kind), suppress(FileNotFoundError):
            self._fs.rm_file(self._path(key))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with filesystem_failures("list", prefix, self.kind):
            for path, entry in self._below(self._root):
                key = path[len(self._root) + 1 :]
                if key.startswith(prefix) and not key.startswith(f"{_INCOMING}/"):
                    yield _info(key, entry)

    def presign(self, key: str, expires_in: int) -> str:
        with filesystem_failures("presign", key, self.kind):
            return str(self._fs.sign(self._path(key), expiration=expires_in))

    def discard_uploads(self, older_than: int) -> int | None:
        discarded = 0
        with filesystem_failures("list unfinished uploads", None, self.kind):
            for path, entry in self._below(f"{self._root}/{_INCOMING}"):
                if _OURS.search(path) and 0 < _modified_at(entry) < older_than:
                    self._fs.rm_file(path)
                    discarded += 1
        return discarded

    def create(self) -> None:
        with filesystem_failures("create the folder", None, self.kind):
            self._fs.makedirs(self._root, exist_ok=True)

    def close(self) -> None:
        """fsspec has no general way to close a filesystem."""

    @property
    def _fs(self) -> Any:
        """The filesystem; a forked child gets one of its own."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._open_fs, self._root = _filesystem(self._options)
        return self._open_fs

    def _path(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}"

    def _incoming(self) -> str:
        return f"{self._root}/{_INCOMING}/{secrets.token_hex(16)}"

    def _below(self, folder: str) -> Sequence[tuple[str, dict[str, Any]]]:
        try:
            self._fs.invalidate_cache()
            return sorted((path.rstrip("/"), entry) for path, entry in self._fs.find(folder, detail=True).items())
        except FileNotFoundError:
            return []


class FsspecUpload:
    """A file under a temporary name that is moved to its key when it is complete."""

    def __init__(self, fs: Any, kind: str, temporary: str, final: str, key: str) -> None:
        self._fs = fs
        self._kind = kind
        self._temporary = temporary
        self._final = final
        self._key = key
        self._file: Any = None
        self._moving = False

    def send(self, part: Buffer) -> None:
        with filesystem_failures("write", self._key, self._kind):
            self._open().write(part)

    def complete(self) -> None:
        with filesystem_failures("write", self._key, self._kind):
            file, self._file = self._open(), None
            file.close()
            self._fs.makedirs(self._fs._parent(self._final), exist_ok=True)
            self._moving = True
            self._fs.mv(self._temporary, self._final)

    def abort(self) -> None:
        with filesystem_failures("discard", self._key, self._kind):
            if self._file is not None:
                file, self._file = self._file, None
                _discard(file)
            for path in (self._temporary, *((self._final,) if self._moving else ())):
                with suppress(FileNotFoundError):
                    self._fs.rm_file(path)

    def _open(self) -> Any:
        if self._file is None:
            self._fs.makedirs(self._fs._parent(self._temporary), exist_ok=True)
            self._file = self._fs.open(self._temporary, "wb", block_size=8 * MIB)
        return self._file


def _discard(file: Any) -> None:
    """Give up a half-written file without publishing it, where the filesystem knows how."""
    try:
        file.discard()
        file.closed = True
    except (AttributeError, NotImplementedError, RuntimeError):
        with suppress(OSError):
            file.close()  # it appears under the temporary name, which is removed next


def _info(key: str, entry: dict[str, Any]) -> ObjectInfo:
    return ObjectInfo(key, int(entry["size"]), _modified_at(entry))


def _modified_at(entry: dict[str, Any]) -> int:
    for name in ("LastModified", "last_modified", "mtime", "modified", "updated", "created"):
        value = entry.get(name)
        if isinstance(value, datetime):
            return int(value.timestamp() * 1000)
        if isinstance(value, str) and value:
            with suppress(ValueError):
                return int(datetime.fromisoformat(value).timestamp() * 1000)
        if isinstance(value, int | float):
            return int(value * 1000)
    return 0


def _filesystem(options: StoreOptions) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        raise ConfigurationError(f"{options.scheme}:// needs fsspec, which is not installed.", remedy="Install fsspec.") from error
    with filesystem_failures("connect", None, options.scheme):
        try:
            fs, path = fsspec.core.url_to_fs(options.url, skip_instance_cache=True, **options.storage_options)
        except (ImportError, ValueError) as error:
            raise ConfigurationError(
                f"fsspec cannot open {options.scheme}:// URLs here: {type(error).__name__}.",
                remedy=f"Install the fsspec filesystem for {options.scheme}://, and check the URL.",
            ) from error
    return fs, str(path).rstrip("/")
