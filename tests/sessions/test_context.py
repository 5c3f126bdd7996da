"""Which entries a model is fed."""

from __future__ import annotations

from typing import Any

import pytest

from flue_sqla import Flue
from tests.sessions.documents import KEY, chain, compaction, document, ids, message


def context(flue: Flue, entries: list[Any], **changes: Any) -> list[str]:
    flue.sessions.save(KEY, document(entries, **changes))
    return ids(flue.sessions.context(KEY))


def test_without_a_compaction_it_is_the_whole_path(flue: Flue) -> None:
    assert flue.sessions.context(KEY) == []
    assert context(flue, []) == []
    assert context(flue, chain(3)) == ["e0", "e1", "e2"]


def test_the_compaction_comes_first_then_what_it_kept_then_what_followed(flue: Flue) -> None:
    entries = [*chain(5), compaction("c", "e4", "e3"), message("f", "c"), message("g", "f")]
    assert context(flue, entries) == ["c", "e3", "e4", "f", "g"]


def test_only_the_last_compaction_counts(flue: Flue) -> None:
    entries = [*chain(3), compaction("c1", "e2", "e2"), message("f", "c1"), compaction("c2", "f", "f"), message("g", "c2")]
    assert context(flue, entries) == ["c2", "f", "g"]
    entries = [*chain(3), compaction("c1", "e2", "e1"), message("f", "c1"), compaction("c2", "f", "e2"), message("g", "c2")]
    # What the second one kept reaches back over the first.
    assert context(flue, entries) == ["c2", "e2", "c1", "f", "g"]


@pytest.mark.parametrize("first_kept", [None, "c", "nowhere"])
def test_a_compaction_that_kept_nothing_stands_alone(flue: Flue, first_kept: str | None) -> None:
    assert context(flue, [*chain(3), compaction("c", "e2", first_kept), message("f", "c")]) == ["c", "f"]


def test_the_leaf_decides_which_branch(flue: Flue) -> None:
    branch = [message("b1", "e1"), compaction("bc", "b1", "b1"), message("b2", "bc")]
    entries = [*chain(4), *branch]
    assert context(flue, entries, leafId="b2") == ["bc", "b1", "b2"]
    assert context(flue, entries, leafId="e3") == ["e0", "e1", "e2", "e3"]
    assert context(flue, entries, leafId="e0") == ["e0"]
    assert context(flue, entries, leafId=None) == []


def test_names_with_quotes_and_misleading_texts(flue: Flue) -> None:
    odd = 'e"1\\\n'
    entries = [
        message("e0", None),
        message(odd, "e0"),
        {**compaction("c", odd, odd, summary='"firstKeptEntryId":"e0"'), "details": {"firstKeptEntryId": "e0"}},
        message("f", "c"),
    ]
    assert context(flue, entries) == ["c", odd, "f"]
    before = {"type": "compaction", "id": "c2", "parentId": "f", "details": {"firstKeptEntryId": "e0"}, "firstKeptEntryId": "f"}
    assert context(flue, [*entries, before]) == ["c2", "f"]


def test_a_circle_of_parents_ends(flue: Flue) -> None:
    assert sorted(context(flue, [message("a", "b"), message("b", "a")])) == ["a", "b"]


def test_long_identifiers_and_types(flue: Flue) -> None:
    name = "é" * 255
    entries = [{"type": "t" * 500, "id": name, "parentId": None}, message("f", name)]
    assert context(flue, entries) == [name, "f"]
