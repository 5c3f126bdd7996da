"""Storage keys: ``<tenant>/<id>``, plain enough for every store whatever the tenant is called.

Letters, digits and ``-`` of a tenant stand for themselves; any other byte of the UTF-8 form becomes ``_`` and two hex digits. So no
component is ``.`` or ``..``, none exceeds 255 bytes, and a key stays within the 512 characters of its column.
"""

from __future__ import annotations

import hashlib
import re

from flue_sqla.errors import InvalidInputError
from flue_sqla.wire import ULID_PATTERN

__all__ = ["check_key", "is_artifact_id", "is_component", "is_storage_key", "quote_component", "storage_key"]

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")
_COMPONENT = re.compile(r"[A-Za-z0-9_-]{1,255}\Z")
_LONGEST = 128
_ID = re.compile(rf"art_{ULID_PATTERN}\Z")
_OURS = re.compile(rf"[A-Za-z0-9_-]{{1,{_LONGEST}}}/{_ID.pattern}")


def storage_key(tenant: str, artifact_id: str) -> str:
    """The final, never reused key of an artifact, relative to the root of its store."""
    return check_key(f"{quote_component(tenant)}/{artifact_id}")


def is_artifact_id(text: str) -> bool:
    """Whether ``text`` can be the id of an artifact, of one that is gone too."""
    return _ID.match(text) is not None


def is_storage_key(key: str) -> bool:
    """Whether :func:`storage_key` could have made ``key``: whatever else lies in a store belongs to somebody else."""
    return _OURS.match(key) is not None


def quote_component(text: str) -> str:
    """``text`` as one path component; distinct texts give distinct components.

    Raises:
        InvalidInputError: the text is empty or has no UTF-8 form.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise InvalidInputError("A lone surrogate has no UTF-8 form and cannot be part of a storage key.") from None
    if not data:
        raise InvalidInputError("An empty text cannot be part of a storage key.")
    quoted = "".join(chr(byte) if byte in _PLAIN else f"_{byte:02x}" for byte in data)
    if len(quoted) <= _LONGEST:
        return quoted
    # "_z" is no escape, so a shortened name never equals one in full.
    return f"{quoted[:48]}_z{hashlib.sha256(data).hexdigest()}"


def is_component(name: str) -> bool:
    """Whether ``name`` can be a part of a storage key."""
    return _COMPONENT.match(name) is not None


def check_key(key: str) -> str:
    """``key`` itself when every component is plain; a store calls it before it touches anything.

    Raises:
        InvalidInputError: the key was not made by :func:`storage_key`.
    """
    if not all(map(is_component, key.split("/"))):
        raise InvalidInputError(f"{key!r} is not a storage key.", meta={"key": key})
    return key
