"""Agent sessions: documents of messages and compactions (spec/submissions.md §16, §17)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from flue_sqla.errors import InvalidInputError
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.repositories.sessions import reading
from flue_sqla.repositories.sessions import statements as sql
from flue_sqla.repositories.sessions.appending import Append
from flue_sqla.repositories.sessions.deletion import SessionDeletion, pending_deletions
from flue_sqla.repositories.sessions.document import Head, check_key, entries_of, parse_head
from flue_sqla.repositories.sessions.saving import Save
from flue_sqla.repositories.sessions.sharing import SharedCalls
from flue_sqla.repositories.sessions.tree import child_keys
from flue_sqla.wire import require_storable

__all__ = ["Sessions"]

Json = dict[str, Any]


class Sessions:
    """Session documents by storage key, such as ``wire.session_key(agent, instance_id)`` makes.

    A document is a JSON object with ``entries``, a list of objects with an ``id`` each, and ``leafId``. Each entry is a row of its own,
    and its images are rows of theirs, so what is stored grows with the text and not with the number of saves.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._deletions = SharedCalls()

    # -- whole documents ------------------------------------------------------------------------------------------------------------

    def save(self, key: str, data: Mapping[str, Any]) -> None:
        """Make the stored session equal to ``data``, in one transaction, and write only what changed.

        With one entry added to 10,000, one entry is sent: a digest in the session's row tells that the first 10,000 are the same.
        An entry that changed inside costs one read of all digests (about 100 bytes each). A session that another program wrote has no
        digests, or ones that do not fit, and is compared by its texts once. Of two savers at once the later one wins.

        Raises:
            InvalidInputError: not a document, two entries with one id, or a value that cannot be stored; no statement was sent.
            ValueTooLargeError: a key, an image or a text is longer than the database or the contract allows.
        """
        check_key(self._scope.dialect, key)
        if not isinstance(data, Mapping):
            raise InvalidInputError("A session document is an object.", meta={"field": "data"})
        entries = entries_of(self._scope.dialect, key, data.get("entries", []))
        head = Head.of({name: value for name, value in data.items() if name != "entries"})
        self._scope.write(Save(self._scope.dialect, key, head, entries).run)

    def load(self, key: str) -> Json | None:
        """The document as it was saved, or None.

        Raises:
            MalformedRowError: a row is not what was stored, or images are missing.
        """
        return reading.load(self._read(key, sql.LOAD))

    def delete(self, key: str) -> None:
        """Remove one document with its entries and images; an unknown key is nothing to delete."""
        parameters = {"of_session": check_key(self._scope.dialect, key)}

        def operation(executor: Executor) -> None:
            # The session's row first: whoever appends waits for it, and what follows sees what was appended until then.
            executor.execute(sql.DELETE_HEAD, parameters)
            executor.execute(sql.DELETE_CHUNKS, parameters)
            executor.execute(sql.DELETE_ENTRIES, parameters)

        self._scope.write(operation)

    # -- long conversations ---------------------------------------------------------------------------------------------------------

    def append(self, key: str, entries: Sequence[Mapping[str, Any]], *, expected_leaf: str | None = None) -> str:
        """Append entries and make the last one the leaf; what it costs does not depend on how long the session is.

        Repeating an append that was stored, even after a lost answer, changes nothing.

        Args:
            entries: complete entries, at least one, each with an ``id`` and the ``parentId`` that it goes on from.
            expected_leaf: append only if this is the session's leaf; None does not ask.

        Returns:
            The new leaf: the id of the last entry.

        Raises:
            SessionConflictError: another leaf, or other entries under these ids; nothing was appended.
            SessionMissingError: no session was saved under ``key``.
            InvalidInputError, ValueTooLargeError: as :meth:`save`.
        """
        check_key(self._scope.dialect, key)
        prepared = entries_of(self._scope.dialect, key, entries)
        if not prepared:
            raise InvalidInputError("There is nothing to append.", meta={"field": "entries"})
        if expected_leaf is not None:
            require_storable(expected_leaf, "expected_leaf")
        Append(self._scope, key, prepared, expected_leaf).run()
        return prepared[-1].entry_id

    def tail(self, key: str, n: int) -> list[Json]:
        """The last ``n`` entries, oldest first; all of them if there are fewer, none of an unknown session."""
        if isinstance(n, bool) or not isinstance(n, int):
            raise InvalidInputError("The number of entries is a whole number.", meta={"field": "n"})
        if n <= 0:
            return []
        return self._read(key, sql.TAIL, fetch=min(n, 2**31 - 1)).entries

    def context(self, key: str) -> list[Json]:
        """What a model is fed: the last compaction before the leaf, the entries it kept, then the entries after it up to the leaf.

        Without a compaction, the whole path from the root to the leaf; nothing for an unknown or empty session. One statement, whose
        cost is that of the entries it returns. On MySQL and MariaDB a leaf on an older branch, and everywhere a session that another
        program wrote, may cost reading the whole session.

        Raises:
            MalformedRowError: as :meth:`load`.
        """
        found = reading.context(self._read(key, sql.CONTEXT(self._scope.dialect)), complete=False)
        if found is None:
            found = reading.context(self._read(key, sql.LOAD), complete=True) or []
        return found

    # -- deletion -------------------------------------------------------------------------------------------------------------------

    def delete_tree(self, session_key: str, delete_tree: Callable[[], object] | None = None) -> None:
        """Delete a session with its settled submissions, keeping new work out meanwhile.

        A marker is committed, then ``delete_tree`` is called outside any transaction, then the settled submissions accepted before the
        marker are removed; dispatches and keyed submissions leave receipts for 30 days. A crash leaves the marker: run it again for each
        of :meth:`list_pending_deletions`. Calls for one key at the same time share the first one's deletion and outcome.

        Args:
            session_key: the four-part key of the lane.
            delete_tree: removes whatever belongs to the session; default :meth:`delete_documents`. If it raises, the marker is removed.

        Raises:
            SessionBusyError: unsettled work; nothing was deleted.
            InvalidInputError: called on a unit or a bound unit.
        """
        steps = self.deletion(session_key)

        def work() -> None:
            steps.start()
            try:
                steps.look_again()
                if delete_tree is None:
                    self.delete_documents(session_key)
                else:
                    delete_tree()
            except BaseException:
                if not steps.refused:
                    steps.give_up()
                raise
            steps.finish()

        self._deletions.run(session_key, work)

    def deletion(self, session_key: str) -> SessionDeletion:
        """The steps of :meth:`delete_tree` one by one, for a caller with a callback of another kind."""
        return SessionDeletion(self._scope, check_key(self._scope.dialect, session_key))

    def delete_documents(self, key: str) -> None:
        """Delete a document after those of its children, depth first."""
        visited: set[str] = set()

        def delete(node: str) -> None:
            if node in visited:
                return
            visited.add(node)
            row = self._scope.read(lambda executor: executor.execute(sql.HEAD, {"of_session": node}).first())
            if row is not None:
                for child in child_keys(node, parse_head(node, row.data).values):
                    delete(child)
            self.delete(node)

        delete(check_key(self._scope.dialect, key))

    def list_pending_deletions(self) -> list[str]:
        """The session keys whose deletion was begun and not finished, oldest first."""
        return pending_deletions(self._scope)

    def _read(self, key: str, statement: sa.Executable, **parameters: Any) -> reading.Rows:
        parameters["of_session"] = check_key(self._scope.dialect, key)
        rows = self._scope.read(lambda executor: executor.execute(statement, parameters).all())
        return reading.rows_of(key, rows)
