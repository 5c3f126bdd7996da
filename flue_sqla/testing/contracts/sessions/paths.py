"""Long conversations without whole documents: our ``append``, ``tail`` and ``context``."""

from __future__ import annotations

from functools import partial

import pytest

from flue_sqla.errors import SessionConflictError, SessionMissingError
from flue_sqla.testing.contracts.sessions.examples import KEY, compaction, document, entry, picture
from flue_sqla.testing.stores import Stores


class LongSessionContract:
    """``append``, ``tail`` and ``context``: long conversations without whole documents. Ours; Flue has no such methods."""

    def test_d25_appending_moves_the_leaf(self, stores: Stores) -> None:
        stores.sessions.save(KEY, document(entry(0)))
        stores.clock.advance(1_234)
        assert stores.sessions.append(KEY, [entry(1, picture("AAAA")), entry(2)]) == "entry_2"
        stored = document(entry(0), entry(1, picture("AAAA")), entry(2), updatedAt="2026-06-03T00:01:01.234Z")
        assert stores.sessions.load(KEY) == stored

    def test_d26_repeating_an_append_changes_nothing(self, stores: Stores) -> None:
        stores.sessions.save(KEY, document(entry(0)))
        stores.sessions.append(KEY, [entry(1)], expected_leaf="entry_0")
        stored = stores.sessions.load(KEY)
        stores.clock.advance(1_000)
        assert stores.sessions.append(KEY, [entry(1)], expected_leaf="entry_0") == "entry_1"
        assert stores.sessions.load(KEY) == stored

    def test_d27_another_leaf_or_another_entry_under_the_id_is_a_conflict(self, stores: Stores) -> None:
        stores.sessions.save(KEY, document(entry(0), entry(1)))
        before = stores.sessions.load(KEY)
        with pytest.raises(SessionConflictError):
            stores.sessions.append(KEY, [entry(2)], expected_leaf="entry_0")
        with pytest.raises(SessionConflictError):
            stores.sessions.append(KEY, [entry(1, "something else")])
        assert stores.sessions.load(KEY) == before

    def test_d28_an_unknown_session_is_not_made_by_an_append(self, stores: Stores) -> None:
        with pytest.raises(SessionMissingError):
            stores.sessions.append(KEY, [entry(0)])
        assert stores.sessions.load(KEY) is None

    def test_d29_of_concurrent_appends_to_one_leaf_one_wins(self, stores: Stores) -> None:
        stores.sessions.save(KEY, document(entry(0)))
        appends = stores.concurrently(
            *(partial(stores.sessions.append, KEY, [{**entry(n), "parentId": "entry_0"}], expected_leaf="entry_0") for n in range(1, 5))
        )
        assert sorted(outcome.raised for outcome in appends) == [False, True, True, True]
        assert all(isinstance(outcome.error, SessionConflictError) for outcome in appends if outcome.raised)
        stored = stores.sessions.load(KEY)
        assert stored is not None
        assert [found["id"] for found in stored["entries"]] == ["entry_0", stored["leafId"]]

    def test_d30_the_tail_is_the_last_entries_oldest_first(self, stores: Stores) -> None:
        stores.sessions.save(KEY, document(*(entry(n, picture("AAAA")) for n in range(4))))
        assert stores.sessions.tail(KEY, 2) == [entry(2, picture("AAAA")), entry(3, picture("AAAA"))]
        assert len(stores.sessions.tail(KEY, 9)) == 4
        assert stores.sessions.tail(KEY, 0) == stores.sessions.tail("unknown", 2) == []

    def test_d31_the_context_without_a_compaction_is_the_path_to_the_leaf(self, stores: Stores) -> None:
        branch = {**entry(3), "parentId": "entry_0"}
        stores.sessions.save(KEY, document(entry(0), entry(1), entry(2), branch))
        assert stores.sessions.context(KEY) == [entry(0), branch]
        stores.sessions.save(KEY, document(entry(0), entry(1), entry(2), branch, leafId="entry_2"))
        assert stores.sessions.context(KEY) == [entry(0), entry(1), entry(2)]
        assert stores.sessions.context("unknown") == []

    @pytest.mark.parametrize(
        ("first_kept", "kept"),
        [("entry_1", [1, 2]), ("entry_2", [2]), ("entry_3", []), (None, []), ("entry_9", []), ("entry_0", [0, 1, 2])],
    )
    def test_d32_the_context_begins_with_the_last_compaction_and_what_it_kept(
        self, stores: Stores, first_kept: str | None, kept: list[int]
    ) -> None:
        summary = compaction(3, first_kept)
        stores.sessions.save(KEY, document(entry(0), entry(1), entry(2), summary))
        stores.sessions.append(KEY, [entry(4), entry(5)])
        assert stores.sessions.context(KEY) == [summary, *map(entry, kept), entry(4), entry(5)]

    def test_d33_only_the_last_compaction_on_the_path_counts(self, stores: Stores) -> None:
        first, second = compaction(1, "entry_0"), compaction(3, "entry_2")
        elsewhere = {**compaction(5, "entry_0"), "parentId": "entry_0"}
        stores.sessions.save(KEY, document(entry(0), first, entry(2), second, elsewhere, entry(4), leafId="entry_4"))
        stores.sessions.append(KEY, [{**entry(6), "parentId": "entry_4"}])
        assert stores.sessions.context(KEY) == [second, entry(2), {**entry(4)}, {**entry(6), "parentId": "entry_4"}]
