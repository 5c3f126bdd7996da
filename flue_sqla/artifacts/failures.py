"""One shape for every way in which an object store can fail, with remedies that fit the kind of store."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flue_sqla.errors import ArtifactStoreError, FlueError

__all__ = ["S3", "Place", "failure", "filesystem", "filesystem_failures", "folder", "folder_failures"]

_EVERYWHERE = {
    "missing": "The bytes are gone from the object store: restore them from a backup, or let `flue-sqla artifacts sweep` report them.",
    "no_space": "Free space where the artifacts are kept.",
    "unsupported": "Use a store that can, such as s3.",
    "incomplete": "The connection broke; retry.",
    "closed": "Keep the Flue open while its files are being read.",
}
_S3 = {
    "unreachable": "Check the endpoint, the network and that the object store is running.",
    "timeout": "Check the network, or raise the object store timeouts.",
    "denied": "Check the access key, its secret and the rights of its policy on the bucket and prefix.",
    "bucket_missing": "Create the bucket, or correct its name (`flue-sqla check --init` creates it).",
    "server_error": "The object store is failing; retry later.",
    "throttled": "The object store asks for fewer requests; retry later or lower s3_concurrency.",
}
_FOLDER = {
    "denied": "Give this process's account the right to read, write and search the folder and all that is in it.",
    "read_only": "Mount the filesystem of the folder writable, or set FLUE_ARTIFACTS to another folder.",
    "no_space": "Free space or raise the quota where the folder is.",
    "not_a_folder": "Something that is no folder lies at this path or above it: move it away, or correct FLUE_ARTIFACTS.",
    "folder_missing": "There is no such folder, or none can be made there: mount it, or correct FLUE_ARTIFACTS.",
    "missing": "The file is gone from the folder: restore it from a backup, or let `flue-sqla artifacts sweep` report it.",
}
_OTHER = "Check FLUE_ARTIFACTS and what the fsspec filesystem of {scheme}:// needs; the cause of this error says more."


@dataclass(frozen=True, slots=True)
class Place:
    """What an error calls a store, what it says in ``meta``, and what can be done there about each reason."""

    name: str
    remedies: Mapping[str, str]
    otherwise: str = "See the cause of this error."
    meta: Mapping[str, Any] = field(default_factory=dict)


S3 = Place("The object store", _S3)


def folder(root: Path) -> Place:
    """A folder; its path is no secret, and what most errors are about."""
    otherwise = "Look at the folder: its path, its rights, and the disk below it."
    return Place(f"The artifact store in {str(root)!r}", _FOLDER, otherwise, {"folder": str(root)})


def filesystem(scheme: str) -> Place:
    """Any other filesystem. Its URL may hold credentials, so only the scheme is named."""
    return Place(f"The {scheme}:// store", {}, _OTHER.format(scheme=scheme), {"scheme": scheme})


def failure(
    operation: str, key: str | None, reason: str, *, place: Place = S3, detail: str = "", meta: Mapping[str, Any] | None = None
) -> ArtifactStoreError:
    """The typed error for ``operation`` on ``key``. ``reason`` is stable and in ``meta``; ``detail`` must be free of secrets."""
    where = f" {key!r}" if key else ""
    what = f"{reason.replace('_', ' ')}{f' ({detail})' if detail else ''}"
    return ArtifactStoreError(
        f"{place.name} could not {operation}{where}: {what}.",
        meta={"operation": operation, "key": key, "reason": reason, **place.meta, **(meta or {})},
        remedy=place.remedies.get(reason) or _EVERYWHERE.get(reason, place.otherwise),
    )


_ERRNO = {
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    errno.EROFS: "read_only",
    errno.ENOENT: "missing",
    errno.ENOTDIR: "not_a_folder",
    errno.ETIMEDOUT: "timeout",
}


@contextmanager
def folder_failures(operation: str, key: str | None, root: Path) -> Iterator[None]:
    """Turn operating system errors about the folder ``root`` inside the block into :class:`ArtifactStoreError`."""
    try:
        yield
    except OSError as error:
        reason = _ERRNO.get(error.errno or 0, "failed")
        if reason == "missing" and (operation == "write" or not os.path.isdir(root)):
            reason = "folder_missing"
        elif isinstance(error, FileExistsError):
            reason = "not_a_folder"  # what is there is no folder, or it would have been taken
        raise failure(operation, key, reason, place=folder(root), detail=error.strerror or "") from error


@contextmanager
def filesystem_failures(operation: str, key: str | None, scheme: str) -> Iterator[None]:
    """Turn whatever an fsspec filesystem raises inside the block into :class:`ArtifactStoreError`. Its text is not repeated."""
    try:
        yield
    except FlueError:
        raise
    except Exception as error:
        code = error.errno if isinstance(error, OSError) else None
        detail = os.strerror(code) if code else type(error).__name__
        raise failure(operation, key, _reason(error, code), place=filesystem(scheme), detail=detail) from error


def _reason(error: Exception, code: int | None) -> str:
    for kind, reason in _KINDS.items():
        if isinstance(error, kind):
            return reason
    return _ERRNO.get(code or 0, "failed")


_KINDS: dict[type[Exception], str] = {
    FileNotFoundError: "missing",
    PermissionError: "denied",
    TimeoutError: "timeout",
    ConnectionError: "unreachable",
    NotImplementedError: "unsupported",
}
