"""What botocore, aiohttp and s3fs raise, as our typed errors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flue_sqla.artifacts.failures import failure
from flue_sqla.errors import ArtifactStoreError, FlueError

__all__ = ["s3_code", "s3_failure", "s3_failures"]

_CODES = {
    "NoSuchKey": "missing",
    "404": "missing",
    "NotFound": "missing",
    "NoSuchBucket": "bucket_missing",
    "NoSuchUpload": "upload_gone",
    "AccessDenied": "denied",
    "403": "denied",
    "Forbidden": "denied",
    "InvalidAccessKeyId": "denied",
    "SignatureDoesNotMatch": "denied",
    "ExpiredToken": "denied",
    "InvalidToken": "denied",
    "AuthorizationHeaderMalformed": "denied",
    "RequestTimeTooSkewed": "clock_skew",
    "SlowDown": "throttled",
    "Throttling": "throttled",
    "429": "throttled",
    "InternalError": "server_error",
    "ServiceUnavailable": "server_error",
    "RequestTimeout": "timeout",
    "InvalidRange": "range",
    "416": "range",
    "PreconditionFailed": "exists",
    "412": "exists",
}
_CLASSES = {
    "ConnectTimeoutError": "timeout",
    "ReadTimeoutError": "timeout",
    "TimeoutError": "timeout",
    "ServerTimeoutError": "timeout",
    "SocketTimeoutError": "timeout",
    "EndpointConnectionError": "unreachable",
    "ClientConnectorError": "unreachable",
    "ConnectionClosedError": "unreachable",
    "HTTPClientError": "unreachable",
    "ServerDisconnectedError": "unreachable",
    "ClientOSError": "unreachable",
    "ClientPayloadError": "incomplete",
    "IncompleteReadError": "incomplete",
    "ResponseStreamingError": "incomplete",
    "NoCredentialsError": "denied",
    "PartialCredentialsError": "denied",
    "ProfileNotFound": "denied",
}


def s3_code(error: BaseException | None) -> str | None:
    """The S3 error code in ``error`` or in what caused it: s3fs hides it behind an OSError whose kind varies between servers."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict) and "Error" in response:
            return str(response["Error"].get("Code") or response.get("ResponseMetadata", {}).get("HTTPStatusCode") or "")
        error = error.__cause__ or error.__context__
    return None


def s3_failure(operation: str, key: str | None, error: BaseException) -> ArtifactStoreError:
    """The typed error for what an S3 client raised. Nothing of the client's text is repeated but the server's code."""
    code = s3_code(error)
    reason = _CODES.get(code or "") or ("server_error" if _status(error) >= 500 else None) or _reason_of_class(error)
    return failure(operation, key, reason, detail=code or type(error).__name__, meta={"code": code})


@contextmanager
def s3_failures(operation: str, key: str | None) -> Iterator[None]:
    """Turn an S3 client's errors inside the block into :class:`ArtifactStoreError`."""
    try:
        yield
    except (FlueError, asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        raise s3_failure(operation, key, error) from error


def _reason_of_class(error: BaseException | None) -> str:
    while error is not None:
        for base in type(error).__mro__:
            if base.__name__ in _CLASSES:
                return _CLASSES[base.__name__]
        error = error.__cause__ or error.__context__
    return "failed"


def _status(error: BaseException | None) -> int:
    while error is not None:
        response: Any = getattr(error, "response", None)
        if isinstance(response, dict):
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
        error = error.__cause__ or error.__context__
    return 0
