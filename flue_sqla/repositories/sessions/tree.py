"""The documents of a session and of its children (spec/submissions.md §17)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

from flue_sqla.wire import canonical_json, parse_json

__all__ = ["child_keys"]

_PREFIX: Final = "agent-session:"


def child_keys(key: str, document: Mapping[str, Any]) -> Iterator[str]:
    """The storage keys of the children that a document refers to; references that name no child are skipped.

    Keys of four parts (agent first) and of three are both understood; the last two are harness and session.
    """
    address = _address(key)
    references = document.get("childSessions")
    if address is None or not isinstance(references, list):
        return
    *owner, harness, session = address
    for reference in references:
        child = _child(reference, harness, session) if isinstance(reference, Mapping) else None
        if child is not None:
            yield _PREFIX + canonical_json([*owner, *child])


def _child(reference: Mapping[str, Any], harness: str, parent: str) -> tuple[str, str] | None:
    session = reference.get("session")
    if not isinstance(session, str):
        return None
    if reference.get("type") == "task" and _is_uuid(reference.get("taskId")):
        name = f"task:{parent}:{reference['taskId']}"
        return (harness, name) if session == name else None
    if reference.get("type") == "action" and _is_uuid(reference.get("invocationId")):
        return f"{harness}:action:{reference['invocationId']}", session
    return None


def _is_uuid(value: Any) -> bool:
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value.lower()
    except ValueError:
        return False


def _address(key: str) -> list[str] | None:
    if not key.startswith(_PREFIX):
        return None
    try:
        parts = parse_json(key.removeprefix(_PREFIX))
    except ValueError:
        return None
    if not isinstance(parts, list) or len(parts) not in (3, 4) or not all(isinstance(part, str) for part in parts):
        return None
    return parts
