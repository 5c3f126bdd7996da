"""Saving a whole document while writing only what changed (spec/submissions.md §17).

One small read decides: the session row with its seal. If the seal says that the first entries are the ones of the new document, they are
neither sent nor compared; only entries after them are looked at, by their digests. If the document changed inside, the digests of all
entries are read (about 100 bytes each). Only a session that somebody else wrote is read in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from flue_sqla.dialects import DialectImpl
from flue_sqla.errors import InternalStateError
from flue_sqla.repositories.batching import in_batches
from flue_sqla.repositories.scope import Executor
from flue_sqla.repositories.sessions import statements as sql
from flue_sqla.repositories.sessions.document import Entry, Head, parse_head
from flue_sqla.repositories.sessions.images import OWNER_KIND
from flue_sqla.repositories.sessions.seal import Seal, entry_digest, images_part
from flue_sqla.repositories.submissions.images import Chunk

__all__ = ["Save", "chunk_row", "insert_entries"]

_ATTEMPTS: Final = 3


@dataclass(frozen=True)
class _Stored:
    """What is known of a stored entry; ``digest`` is what its row holds would give, ``current`` says that its columns say so too."""

    position: int
    digest: str
    current: bool = True


@dataclass
class _Changes:
    """What one save has to write."""

    inserted: list[tuple[int, Entry]] = field(default_factory=list)
    updated: list[tuple[int, Entry]] = field(default_factory=list)
    pictured: list[Entry] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


class Save:
    """One call of ``save``: the document as rows, to be run in a write transaction."""

    def __init__(self, dialect: DialectImpl, key: str, head: Head, entries: list[Entry]) -> None:
        self._dialect = dialect
        self._key = {"of_session": key}
        self._id = key
        self._head = head
        self._entries = entries
        self._digests = [entry.digest for entry in entries]
        seal = Seal.over(self._digests)
        self._row = {
            "data": head.text,
            "leaf_id": head.leaf_column,
            "entry_count": len(entries),
            "prefix_digest": seal.text(head.text, head.values),
        }

    def run(self, executor: Executor) -> None:
        """Bring the stored session to the document, and hold its row meanwhile."""
        self._dialect.check_packet(executor, self._head.text)
        stored = self._locked_row(executor)
        skipped, existing = self._existing(executor, stored)
        self._write(executor, self._compare(skipped, existing))
        if stored is not None and any(stored[name] != value for name, value in self._row.items()):
            executor.execute(sql.UPDATE_HEAD, {**self._key, **{f"new_{name}": value for name, value in self._row.items()}})

    def _locked_row(self, executor: Executor) -> dict[str, Any] | None:
        """The session's row, locked; None when this save has just inserted it."""
        for _ in range(_ATTEMPTS):
            row = executor.execute(sql.LOCKED_HEAD, self._key).first()
            if row is not None:
                return dict(row._mapping)
            if executor.execute(sql.INSERT_HEAD(self._dialect), {"id": self._id, **self._row}).rowcount == 1:
                return None
        raise InternalStateError("The session's row can neither be read nor inserted.", meta={"sessionId": self._id})

    def _existing(self, executor: Executor, stored: dict[str, Any] | None) -> tuple[int, dict[str, _Stored]]:
        """How many first entries are unchanged, and what is stored of the others, by entry id."""
        seal = None if stored is None else Seal.read(stored["prefix_digest"], stored["data"], parse_head(self._id, stored["data"]).values)
        if stored is None or seal is None:
            return 0, self._read_texts(executor)
        skipped = seal.covered if seal.fits(self._digests) else 0
        if skipped == stored["entry_count"]:
            return skipped, {}
        rows = executor.execute(sql.DIGESTS, {**self._key, "since": skipped})
        return skipped, {row.entry_id: _Stored(row.position, row.digest or "", current=row.digest is not None) for row in rows}

    def _read_texts(self, executor: Executor) -> dict[str, _Stored]:
        """The slow way, for rows whose digests nobody vouches for."""
        rows = executor.execute(sql.TEXTS, self._key).all()
        if not rows:
            return {}
        chunks: dict[str, list[Chunk]] = {}
        for owner, *chunk in map(tuple, executor.execute(sql.CHUNKS, self._key)):
            chunks.setdefault(owner, []).append(Chunk(*chunk))
        found: dict[str, _Stored] = {}
        for row in rows:
            digest = entry_digest(row.data, chunks.get(row.entry_id, []))
            found[row.entry_id] = _Stored(row.position, digest, current=row.digest == digest)
        return found

    def _compare(self, skipped: int, existing: dict[str, _Stored]) -> _Changes:
        changes = _Changes()
        for position, entry in enumerate(self._entries[skipped:], skipped):
            stored = existing.pop(entry.entry_id, None)
            if stored is None:
                changes.inserted.append((position, entry))
                continue
            if stored.position != position or stored.digest != entry.digest or not stored.current:
                changes.updated.append((position, entry))
            if images_part(stored.digest) != images_part(entry.digest):
                changes.pictured.append(entry)
        changes.removed = list(existing)
        return changes

    def _write(self, executor: Executor, changes: _Changes) -> None:
        for ids in in_batches(changes.removed):
            executor.execute(sql.DELETE_SOME_CHUNKS, {**self._key, "of_entries": ids})
            executor.execute(sql.DELETE_SOME_ENTRIES, {**self._key, "of_entries": ids})
        for pairs in in_batches(changes.updated):
            for _, entry in pairs:
                self._dialect.check_packet(executor, entry.text)
            executor.execute(sql.UPDATE_ENTRY, [self._update_values(position, entry) for position, entry in pairs])
        for entries in in_batches(changes.pictured):
            executor.execute(sql.DELETE_SOME_CHUNKS, {**self._key, "of_entries": [entry.entry_id for entry in entries]})
            insert_chunks(executor, self._dialect, self._id, entries)
        insert_entries(executor, self._dialect, self._id, changes.inserted)

    def _update_values(self, position: int, entry: Entry) -> dict[str, Any]:
        row = entry.row(self._id, position)
        changed = {f"new_{name}": row[name] for name in ("position", "data", "parent_id", "kind", "digest")}
        return {**self._key, "of_entry": entry.entry_id, **changed}


def insert_entries(executor: Executor, dialect: DialectImpl, key: str, placed: Sequence[tuple[int, Entry]]) -> None:
    """Insert entries at their positions, with their images."""
    for pairs in in_batches(placed):
        for _, entry in pairs:
            dialect.check_packet(executor, entry.text)
        executor.execute(sql.INSERT_ENTRY, [entry.row(key, position) for position, entry in pairs])
    insert_chunks(executor, dialect, key, [entry for _, entry in placed])


def insert_chunks(executor: Executor, dialect: DialectImpl, key: str, entries: Sequence[Entry]) -> None:
    """Insert the images of entries, chunk by chunk: together they may exceed what one statement can carry."""
    for entry in entries:
        for chunk in entry.chunks:
            dialect.check_packet(executor, chunk.data)
            executor.execute(sql.INSERT_CHUNK, chunk_row(key, entry.entry_id, chunk))


def chunk_row(key: str, entry_id: str, chunk: Chunk) -> dict[str, Any]:
    """The values of ``flue_image_chunks``."""
    return {
        "owner_kind": OWNER_KIND,
        "owner_id": key,
        "owner_part": entry_id,
        "image_id": chunk.item_id,
        "chunk_index": chunk.index,
        "chunk_count": chunk.count,
        "data": chunk.data,
    }
