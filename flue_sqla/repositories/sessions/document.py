"""A session document as it is stored: one head, and one text per entry (spec/submissions.md §17)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from flue_sqla.dialects import DialectImpl
from flue_sqla.errors import InvalidInputError, MalformedRowError
from flue_sqla.repositories.sessions.images import extract
from flue_sqla.repositories.sessions.seal import entry_digest
from flue_sqla.repositories.submissions.images import Chunk
from flue_sqla.wire import canonical_json, format_timestamp, parse_json, require_storable

__all__ = ["COMPACTION", "Entry", "Head", "check_key", "entries_of", "joined", "parse_head"]

COMPACTION: Final = "compaction"
_MESSAGE: Final = "message"
_LONGEST_KIND: Final = 128
_LONGEST_ID: Final = 255


@dataclass(frozen=True)
class Entry:
    """One entry on its way into a row."""

    entry_id: str
    text: str
    parent_id: str | None
    kind: str | None
    chunks: list[Chunk]

    @cached_property
    def digest(self) -> str:
        """See :func:`entry_digest`."""
        return entry_digest(self.text, self.chunks)

    def row(self, session_id: str, position: int) -> dict[str, Any]:
        """The values of ``flue_session_entries``."""
        return {
            "session_id": session_id,
            "entry_id": self.entry_id,
            "position": position,
            "data": self.text,
            "parent_id": self.parent_id,
            "kind": self.kind,
            "digest": self.digest,
        }


@dataclass(frozen=True)
class Head:
    """Everything of a document except its entries."""

    values: Mapping[str, Any]
    text: str

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Head:
        return cls(values, canonical_json(dict(values)))

    @property
    def leaf(self) -> str | None:
        """The entry at which the conversation goes on."""
        leaf = self.values.get("leafId")
        return leaf if isinstance(leaf, str) else None

    @property
    def leaf_column(self) -> str | None:
        """The leaf, where the column can hold it."""
        return _column_text(self.leaf, _LONGEST_ID)

    def moved(self, leaf: str, now: int) -> Head:
        """The head after an append at ``now`` (epoch ms); ``updatedAt`` stays the kind of value that it was."""
        changed = {**self.values, "leafId": leaf}
        if "updatedAt" in changed:
            number = isinstance(changed["updatedAt"], int | float) and not isinstance(changed["updatedAt"], bool)
            changed["updatedAt"] = now if number else format_timestamp(now)
        return Head.of(changed)


def check_key(dialect: DialectImpl, key: str) -> str:
    """The session's storage key, if the database can hold it."""
    dialect.check_key("session_id", require_storable(key, "session key"))
    return key


def entries_of(dialect: DialectImpl, key: str, entries: Any) -> list[Entry]:
    """The entries of a document or an append, ready to be stored.

    Raises:
        InvalidInputError: not a list of objects, each with an ``id`` of its own; or a value that cannot be stored.
    """
    if isinstance(entries, str | bytes | Mapping) or not isinstance(entries, Sequence):
        raise InvalidInputError("A session's entries are a list of objects.", meta={"field": "entries"})
    prepared = [_entry(dialect, key, entry) for entry in entries]
    if len({entry.entry_id for entry in prepared}) != len(prepared):
        raise InvalidInputError("Two entries of the session have the same id.", meta={"field": "entries"})
    return prepared


def _entry(dialect: DialectImpl, key: str, entry: Any) -> Entry:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("id"), str):
        raise InvalidInputError("A session entry is an object with an id.", meta={"field": "entries"})
    entry_id = require_storable(entry["id"], "entry id")
    dialect.check_key("entry_id", entry_id)
    stored, chunks = extract(entry)
    if chunks:
        dialect.check_key("owner_id", key)
        dialect.check_key("owner_part", entry_id)
    return Entry(
        entry_id=entry_id,
        text=canonical_json(dict(stored)),
        parent_id=_column_text(entry.get("parentId"), _LONGEST_ID),
        kind=None if entry.get("type") == _MESSAGE else _column_text(entry.get("type"), _LONGEST_KIND),
        chunks=chunks,
    )


def _column_text(value: Any, longest: int) -> str | None:
    """A value that only helps to find its row; NULL where it does not fit its column, and the reader parses instead."""
    if not isinstance(value, str) or len(value) > longest:
        return None
    try:
        return require_storable(value, "value")
    except InvalidInputError:
        return None


def parse_head(key: str, data: str) -> Head:
    """The stored head.

    Raises:
        MalformedRowError: not a JSON object.
    """
    try:
        values = parse_json(data)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise MalformedRowError("[flue] Persisted session row is malformed.", meta={"sessionId": key})
    return Head(values, data)


def joined(head: Head, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The document, its entries in the contract's place."""
    document: dict[str, Any] = {}
    for name, value in head.values.items():
        document[name] = value
        if name == "affinityKey":
            document["entries"] = entries
    return document if "entries" in document else {**document, "entries": entries}
