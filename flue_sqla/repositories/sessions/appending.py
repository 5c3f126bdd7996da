"""Appending entries to a session without looking at the ones that are there."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from flue_sqla.errors import SessionConflictError, SessionMissingError
from flue_sqla.repositories.batching import in_batches
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.repositories.sessions import statements as sql
from flue_sqla.repositories.sessions.document import Entry, Head, parse_head
from flue_sqla.repositories.sessions.saving import chunk_row, insert_entries
from flue_sqla.repositories.sessions.seal import Seal
from flue_sqla.repositories.submissions.images import Chunk
from flue_sqla.wire import canonical_json, format_timestamp

__all__ = ["Append"]

_ROW_ARRAYS = ("entry_id", "data", "parent_id", "kind", "digest")
_CHUNK_ARRAYS = ("owner_part", "image_id", "chunk_index", "chunk_count", "data")


class Append:
    """One call of ``append``."""

    def __init__(self, scope: Scope, key: str, entries: list[Entry], expected_leaf: str | None) -> None:
        self._scope = scope
        self._key = {"of_session": key}
        self._id = key
        self._entries = entries
        self._expected = expected_leaf
        self._leaf = entries[-1].entry_id

    def run(self) -> None:
        """Append, in one statement where the database can and the row allows it."""
        if not self._alone():
            self._scope.write(self._locked)

    def _alone(self) -> bool:
        if not self._scope.dialect.single_statement or self._scope.in_transaction:
            return False  # a refusal by the primary key would end the transaction that somebody else owns
        statement = sql.append_in_one(expecting=self._expected is not None)
        parameters = self._parameters()
        try:
            return self._scope.single(lambda executor: executor.execute(statement, parameters).first() is not None)
        except IntegrityError:
            return False

    def _parameters(self) -> dict[str, Any]:
        now = self._scope.clock.now()
        rows = [entry.row(self._id, 0) for entry in self._entries]
        chunks = [chunk_row(self._id, entry.entry_id, chunk) for entry in self._entries for chunk in entry.chunks]
        parameters: dict[str, Any] = {
            **self._key,
            "added": len(self._entries),
            "leaf": self._leaf,
            "leaf_json": canonical_json(self._leaf),
            "now_number": str(now),
            "now_text": canonical_json(format_timestamp(now)),
            **{f"new_{name}": [row[name] for row in rows] for name in _ROW_ARRAYS},
            **{f"chunk_{name}": [chunk[name] for chunk in chunks] for name in _CHUNK_ARRAYS},
        }
        if self._expected is not None:
            parameters["expected"] = self._expected
        return parameters

    def _locked(self, executor: Executor) -> None:
        """The same with the session's row held and looked at; says why not."""
        stored = executor.execute(sql.LOCKED_HEAD, self._key).first()
        if stored is None:
            raise SessionMissingError(f"There is no session {self._id!r}.", meta={"sessionId": self._id})
        head = parse_head(self._id, stored.data)
        if self._is_repeat(executor, head):
            return
        if self._expected is not None and head.leaf != self._expected:
            raise self._conflict(head, f"The session's leaf is {head.leaf!r}, not {self._expected!r}.")
        seal = Seal.read(stored.prefix_digest, stored.data, head.values)
        position = stored.entry_count if seal is not None else self._next_position(executor)
        moved = head.moved(self._leaf, self._scope.clock.now())
        self._scope.dialect.check_packet(executor, moved.text)
        insert_entries(executor, self._scope.dialect, self._id, list(enumerate(self._entries, position)))
        changed = {
            "new_data": moved.text,
            "new_leaf_id": moved.leaf_column,
            "new_entry_count": position + len(self._entries),
            # Without a seal the digests of the other entries are nobody's word, and an append does not look at them: the next save does.
            "new_prefix_digest": None if seal is None else seal.text(moved.text, moved.values),
        }
        executor.execute(sql.UPDATE_HEAD, {**self._key, **changed})

    def _is_repeat(self, executor: Executor, head: Head) -> bool:
        """Whether these very entries are stored already: an append whose answer was lost, sent again."""
        stored: dict[str, str] = {}
        for entries in in_batches(self._entries):
            rows = executor.execute(sql.SOME_TEXTS, {**self._key, "of_entries": [entry.entry_id for entry in entries]})
            stored.update({row.entry_id: row.data for row in rows})
        if not stored:
            return False
        if stored != {entry.entry_id: entry.text for entry in self._entries} or not self._same_images(executor):
            raise self._conflict(head, f"The session has other entries under {sorted(stored)}.")
        return True

    def _same_images(self, executor: Executor) -> bool:
        owners = [entry.entry_id for entry in self._entries if entry.chunks]
        if not owners:
            return True
        rows: list[sa.Row[Any]] = []
        for ids in in_batches(owners):
            rows += executor.execute(sql.SOME_CHUNKS, {**self._key, "of_entries": ids}).all()
        stored = sorted((owner, Chunk(*chunk)) for owner, *chunk in map(tuple, rows))
        return stored == sorted((entry.entry_id, chunk) for entry in self._entries for chunk in entry.chunks)

    def _next_position(self, executor: Executor) -> int:
        last = executor.execute(sql.LAST_POSITION, self._key).scalar()
        return 0 if last is None else int(last) + 1

    def _conflict(self, head: Head, message: str) -> SessionConflictError:
        return SessionConflictError(message, meta={"sessionId": self._id, "expectedLeaf": self._expected, "leaf": head.leaf})
