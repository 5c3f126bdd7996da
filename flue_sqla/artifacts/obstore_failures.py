"""What obstore raises, as our typed errors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager

from flue_sqla.artifacts.failures import failure
from flue_sqla.errors import FlueError

__all__ = ["is_range_error", "is_whole_answer", "obstore_failures"]

_CODE = re.compile(r"<Code>([A-Za-z]+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_BY_CODE = {"NoSuchBucket": "bucket_missing", "SlowDown": "throttled", "RequestTimeTooSkewed": "clock_skew"}
_BY_CLASS = {
    "FileNotFoundError": "missing",
    "PermissionDeniedError": "denied",
    "UnauthenticatedError": "denied",
    "AlreadyExistsError": "exists",
}


@contextmanager
def obstore_failures(operation: str, key: str | None) -> Iterator[None]:
    """Turn obstore's errors inside the block into :class:`ArtifactStoreError`. Its text (URLs, bodies) is not repeated."""
    try:
        yield
    except (FlueError, asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        code = _code(error)
        raise failure(operation, key, _reason(error, code), detail=code or type(error).__name__, meta={"code": code}) from error


def is_range_error(error: Exception) -> bool:
    """Whether the range starts beyond the end of the object."""
    return "InvalidRange" in str(error) or "status code: 416" in str(error)


def is_whole_answer(error: Exception) -> bool:
    """Whether the server sent the whole object instead of the range, which obstore refuses."""
    return "NotPartial" in str(error)


def _code(error: Exception) -> str | None:
    found = _CODE.search(str(error))
    return found.group(1) if found else None


def _reason(error: Exception, code: str | None) -> str:
    if code in _BY_CODE:
        return _BY_CODE[code]
    if type(error).__name__ in _BY_CLASS:
        return _BY_CLASS[type(error).__name__]
    text = str(error)
    status = _STATUS.search(text)
    if status:
        return "server_error" if status.group(1).startswith("5") else "failed"
    if "TimedOut" in text or "timed out" in text:
        return "timeout"
    return "unreachable" if "HTTP error" in text or "error sending request" in text else "failed"
