"""Long conversations in memory: what our sessions offer beyond the contract's whole documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flue_sqla.errors import SessionConflictError, SessionMissingError
from flue_sqla.testing.model.session_documents import SessionDocuments
from flue_sqla.wire import canonical_json, format_timestamp

__all__ = ["SessionPaths"]

Entry = dict[str, Any]


class SessionPaths(SessionDocuments):
    """Appending to a session, and the parts of it that are read alone."""

    def append(self, key: str, entries: Sequence[Mapping[str, Any]], *, expected_leaf: str | None = None) -> str:
        with self.database.transaction():
            document = self.load(key)
            if document is None:
                raise SessionMissingError(f"There is no session {key!r}.")
            added = [dict(entry) for entry in entries]
            leaf = str(added[-1]["id"])
            stored = {entry["id"]: entry for entry in document["entries"]}
            if any(entry["id"] in stored for entry in added):
                if all(canonical_json(stored.get(entry["id"])) == canonical_json(entry) for entry in added):
                    return leaf
                raise SessionConflictError("The session has other entries under these ids.")
            if expected_leaf is not None and document["leafId"] != expected_leaf:
                raise SessionConflictError(f"The session's leaf is {document['leafId']!r}, not {expected_leaf!r}.")
            updated = {"leafId": leaf, "updatedAt": format_timestamp(self.clock.now()), "entries": document["entries"] + added}
            self.save(key, {**document, **updated})
            return leaf

    def tail(self, key: str, n: int, /) -> list[Entry]:
        document = self.load(key)
        return document["entries"][-n:] if document is not None and n > 0 else []

    def context(self, key: str, /) -> list[Entry]:
        """The last compaction on the way from the leaf to the root, what it kept, and what came after it."""
        path = self._path(key)
        compactions = [at for at, entry in enumerate(path) if entry["type"] == "compaction"]
        if not compactions:
            return path
        compaction = path[compactions[-1]]
        before, after = path[: compactions[-1]], path[compactions[-1] + 1 :]
        kept = next((before[at:] for at, entry in enumerate(before) if entry["id"] == compaction.get("firstKeptEntryId")), [])
        return [compaction, *kept, *after]

    def _path(self, key: str) -> list[Entry]:
        """The entries from the root to the leaf; an unknown parent is a root, and no entry is passed twice."""
        document = self.load(key)
        if document is None:
            return []
        entries = {entry["id"]: entry for entry in document["entries"]}
        path: list[Entry] = []
        at = document["leafId"]
        while at in entries:
            path.append(entries.pop(at))
            at = path[-1]["parentId"]
        return path[::-1]
