"""A folder as an object store: written aside, flushed to disk, then linked into place."""

from __future__ import annotations

import io
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from flue_sqla.artifacts.failures import failure, folder, folder_failures
from flue_sqla.artifacts.keys import check_key, is_component
from flue_sqla.artifacts.parts import MIB, PartPlan
from flue_sqla.artifacts.readers import StoredFile
from flue_sqla.artifacts.store import Buffer, ObjectInfo
from flue_sqla.errors import ArtifactConflictError

__all__ = ["LocalStore", "was_used"]

# No key has a component that starts with a dot, so this folder cannot be addressed.
_INCOMING = ".incoming"
_OURS = re.compile(r"[0-9a-f]{32}\.part\Z")


def was_used(root: Path) -> bool:
    """Whether anything was ever put into this folder."""
    return (root / _INCOMING).is_dir()


class LocalStore:
    """Objects are files below ``root``, mode 0600 in folders of mode 0700."""

    kind = "fs"

    def __init__(self, root: str | os.PathLike[str], plan: PartPlan | None = None) -> None:
        self._root = Path(root).absolute()  # a later chdir must not move it
        # Parts only pace the pipeline between reading, hashing and writing here.
        self.plan = plan or PartPlan(part_size=4 * MIB, max_parts=2**40)

    def begin(self, key: str, *, size: int | None = None, content_type: str | None = None) -> LocalUpload:
        return LocalUpload(self._root, key)

    def open(self, key: str, size: int) -> BinaryIO:
        failures = partial(folder_failures, "read", key, self._root)
        with failures():
            file = os.fdopen(self._descriptor(key), "rb", buffering=0)
        return io.BufferedReader(StoredFile(file, failures), MIB)

    def read_range(self, key: str, start: int, end: int) -> bytes:
        with folder_failures("read", key, self._root), os.fdopen(self._descriptor(key), "rb", buffering=0) as file:
            file.seek(start)
            pieces = []
            while start < end and (piece := file.read(end - start)):
                pieces.append(piece)
                start += len(piece)
            return b"".join(pieces)

    def stat(self, key: str) -> ObjectInfo | None:
        with folder_failures("look at", key, self._root):
            try:
                found = os.stat(self._path(key), follow_symlinks=False)
            except FileNotFoundError:
                return None
            return _info(key, found) if stat.S_ISREG(found.st_mode) else None

    def delete(self, key: str) -> None:
        path = self._path(key)
        with folder_failures("delete", key, self._root):
            try:
                os.unlink(path)
            except FileNotFoundError:
                return
            _flush_folder(path.parent)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with folder_failures("list", prefix, self._root):
            yield from _walk(self._root, "", prefix)

    def presign(self, key: str, expires_in: int) -> str:
        raise failure("presign", key, "unsupported", place=folder(self._root), detail="a folder has no URLs")

    def discard_uploads(self, older_than: int) -> int | None:
        discarded = 0
        with folder_failures("list unfinished uploads", None, self._root):
            if not (self._root / _INCOMING).is_dir():
                return 0
            for entry in os.scandir(self._root / _INCOMING):
                with suppress(FileNotFoundError):  # it has just been completed or aborted
                    if _OURS.match(entry.name) and entry.stat(follow_symlinks=False).st_mtime_ns // 1_000_000 < older_than:
                        os.unlink(entry.path)
                        discarded += 1
        return discarded

    def create(self) -> None:
        with folder_failures("create the folder", None, self._root):
            _make_folder(self._root)

    def close(self) -> None:
        """Nothing is held between calls."""

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _descriptor(self, key: str) -> int:
        # Not blocking: what lies there may be a pipe, whose opening would wait for a writer.
        descriptor = os.open(self._path(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise failure("read", key, "missing", place=folder(self._root), detail="what lies there is no file")


class LocalUpload:
    """A file in the incoming folder that gets its final name when it is complete."""

    def __init__(self, root: Path, key: str) -> None:
        self._root = root
        self._key = check_key(key)
        self._final = root / key
        self._temporary = root / _INCOMING / f"{secrets.token_hex(16)}.part"
        self._file: int | None = None
        self._ours: list[Path] = []

    def send(self, part: Buffer) -> None:
        with folder_failures("write", self._key, self._root):
            file = self._open()
            view = memoryview(part)
            while view:
                view = view[os.write(file, view) :]

    def complete(self) -> None:
        with folder_failures("write", self._key, self._root):
            os.fsync(self._open())
            self._close()
            _make_folder(self._final.parent)
            self._publish()
            _flush_folder(self._final.parent)

    def abort(self) -> None:
        with folder_failures("discard", self._key, self._root):
            self._close()
            for path in self._ours:
                path.unlink(missing_ok=True)

    def _publish(self) -> None:
        try:
            # Unlike a rename, a link never replaces what is there.
            os.link(self._temporary, self._final)
        except FileExistsError:
            raise ArtifactConflictError(
                f"{self._key!r} is stored already.", meta={"key": self._key}, remedy="Put the bytes again; they get a key of their own."
            ) from None
        except OSError:
            if self._final.exists():
                raise
            os.rename(self._temporary, self._final)  # a filesystem without hard links
            self._ours = [self._final]
            return
        self._ours = [self._temporary, self._final]
        os.unlink(self._temporary)

    def _open(self) -> int:
        if self._file is None:
            _make_folder(self._temporary.parent)
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(self._temporary, flags, stat.S_IRUSR | stat.S_IWUSR)
            self._ours = [self._temporary]
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _info(key: str, found: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, found.st_size, found.st_mtime_ns // 1_000_000)


def _walk(folder: Path, base: str, prefix: str) -> Iterator[ObjectInfo]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        key = base + entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            # A folder that is no part of any key ("lost+found") may not even be readable.
            if is_component(entry.name) and (f"{key}/".startswith(prefix) or prefix.startswith(f"{key}/")):
                yield from _walk(Path(entry.path), f"{key}/", prefix)
        elif entry.is_file(follow_symlinks=False) and key.startswith(prefix):
            try:
                yield _info(key, entry.stat(follow_symlinks=False))
            except FileNotFoundError:
                continue  # deleted since the folder was read


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Make a new or removed name survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
