"""One shape for every way in which an object store can fail."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flue_sqla.errors import ArtifactStoreError, FlueError

__all__ = ["failure", "os_failures"]

_REMEDIES = {
    "unreachable": "Check the endpoint, the network and that the object store is running.",
    "timeout": "Check the network, or raise the object store timeouts.",
    "denied": "Check the access key, its secret and the rights of its policy on the bucket and prefix.",
    "bucket_missing": "Create the bucket, or correct its name (`flue-sqla check --init` creates it).",
    "missing": "The bytes are gone from the object store: restore them from a backup, or let `flue-sqla artifacts sweep` report them.",
    "server_error": "The object store is failing; retry later.",
    "throttled": "The object store asks for fewer requests; retry later or lower s3_concurrency.",
    "no_space": "Free space where the artifacts are kept.",
    "unsupported": "Use a store that can, such as s3.",
    "incomplete": "The connection broke; retry.",
}


def failure(operation: str, key: str | None, reason: str, *, detail: str = "", meta: Mapping[str, Any] | None = None) -> ArtifactStoreError:
    """The typed error for ``operation`` on ``key``. ``reason`` is stable and in ``meta``; ``detail`` must be free of secrets."""
    where = f" {key!r}" if key else ""
    what = f"{reason.replace('_', ' ')}{f' ({detail})' if detail else ''}"
    return ArtifactStoreError(
        f"The object store could not {operation}{where}: {what}.",
        meta={"operation": operation, "key": key, "reason": reason, **(meta or {})},
        remedy=_REMEDIES.get(reason, "See the cause of this error."),
    )


_ERRNO = {
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    errno.EROFS: "denied",
    errno.ENOENT: "missing",
    errno.ETIMEDOUT: "timeout",
}


@contextmanager
def os_failures(operation: str, key: str | None) -> Iterator[None]:
    """Turn operating system errors inside the block into :class:`ArtifactStoreError`."""
    try:
        yield
    except FlueError:
        raise
    except TimeoutError as error:
        raise failure(operation, key, "timeout") from error
    except ConnectionError as error:
        raise failure(operation, key, "unreachable") from error
    except OSError as error:
        reason = "missing" if isinstance(error, FileNotFoundError) else _ERRNO.get(error.errno or 0, "failed")
        raise failure(operation, key, reason, detail=error.strerror or "") from error
