"""What a single setting's value must look like. Each check returns the value to keep or raises ``ValueError`` with a reason.

A reason never repeats the value: URLs may hold passwords, and the report adds harmless values itself.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import sqlalchemy as sa

from flue_sqla.dialects.engines import normalize_url
from flue_sqla.errors import ConfigurationError

__all__ = ["artifact_url", "boolean", "bucket_name", "database_url", "endpoint", "identifier", "key_prefix", "postgres_url", "role_arn"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_BUILT_IN_STORES = frozenset({"file", "local", "memory", "s3"})


def boolean(value: Any) -> bool:
    """Strict: ``true``/``false``, ``1``/``0``, ``yes``/``no``, ``on``/``off``; nothing else counts as false by accident."""
    if isinstance(value, bool):
        return value
    known = _BOOLEANS.get(str(value).strip().lower())
    if known is None:
        raise ValueError("must be true or false")
    return known


def database_url(value: Any) -> str:
    """A database URL that we support; a bare PostgreSQL scheme gets psycopg 3, whatever this SQLAlchemy takes it for."""
    if isinstance(value, sa.URL):
        value = value.render_as_string(hide_password=False)
    if not isinstance(value, str):
        raise ValueError("must be a database URL")
    try:
        normalized = normalize_url(value)
    except ConfigurationError as error:
        found, helps = (text[:1].lower() + text[1:].rstrip(".") for text in (error.message, error.remedy))
        raise ValueError(f"is refused: {found}; {helps}") from None
    if value.partition("://")[0].lower() in ("postgres", "postgresql"):
        return normalized.render_as_string(hide_password=False)
    return value


def postgres_url(value: Any) -> str:
    """A database URL of PostgreSQL and nothing else."""
    if not str(value).lower().startswith(("postgres://", "postgresql://", "postgresql+")):
        raise ValueError("must be a URL that begins with postgresql://")
    return database_url(value)


def artifact_url(value: Any) -> str:
    """A folder's path, or a URL of S3 or any other filesystem that fsspec knows."""
    text = str(value).strip()
    if not text:
        raise ValueError("must be a folder or a URL such as s3://bucket/prefix")
    scheme, separator, rest = text.partition("://")
    if not separator:
        return text
    if scheme == "s3":
        bucket, _, prefix = rest.partition("/")
        bucket_name(bucket)
        key_prefix(prefix)
    elif scheme not in _BUILT_IN_STORES and not _known_to_fsspec(scheme):
        raise ValueError(f"has the scheme {scheme!r}, which is no filesystem known here; use a folder, s3://bucket/prefix or memory://")
    return text


def _known_to_fsspec(scheme: str) -> bool:
    from fsspec.registry import known_implementations, registry

    # Plain web addresses can be read but not written, so they cannot keep artifacts.
    return (scheme in known_implementations or scheme in registry) and scheme not in ("http", "https")


def bucket_name(value: str) -> str:
    """The rules that every S3 server shares; a name that breaks them fails only much later, as a confusing signature error."""
    problem = "is not a legal bucket name: 3 to 63 of a-z, 0-9, '-' and '.', first and last a letter or digit"
    if not _BUCKET.fullmatch(value) or ".." in value or ".-" in value or "-." in value:
        raise ValueError(problem)
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        return value
    raise ValueError(f"{problem}, and not an IP address")


def key_prefix(value: str) -> str:
    """A prefix without empty, ``.`` and ``..`` parts, which servers and engines treat differently."""
    stripped = value.strip("/")
    parts = [unquote(part) for part in stripped.split("/")] if stripped else []
    if any(part in ("", ".", "..") for part in parts) or any(ord(letter) < 32 for letter in value):
        raise ValueError("must not have empty, '.' or '..' parts or control characters")
    return stripped


def endpoint(value: str) -> str:
    """``http(s)://host[:port]`` and nothing more."""
    try:
        parts: SplitResult = urlsplit(value)
        port = parts.port
    except ValueError:
        raise ValueError("must be http://host:port or https://host:port") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or re.search(r"[\s_]", parts.netloc):
        raise ValueError("must be http://host:port or https://host:port")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or password; those are settings of their own")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must end after the host and port; bucket and prefix are settings of their own")
    return f"{parts.scheme}://{parts.netloc}"


def role_arn(value: str) -> str:
    """An ARN of an IAM role."""
    if not re.fullmatch(r"arn:[a-z0-9-]+:(iam|sts)::\d{12}:role/.+", value):
        raise ValueError("must look like arn:aws:iam::123456789012:role/name")
    return value


def identifier(value: str) -> str:
    """A name for a database schema or table: anything that can be quoted, of a length that no database cuts off."""
    if not value or "\x00" in value:
        raise ValueError("must not be empty")
    if len(value.encode()) > 63:
        raise ValueError("is longer than 63 bytes, which PostgreSQL would cut off")
    return value
