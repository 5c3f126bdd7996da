"""Random histories of one session against a document in memory."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flue_sqla import Flue
from flue_sqla.errors import SessionConflictError
from tests.sessions.documents import KEY, compaction, document, ids, message, picture

Json = dict[str, Any]

names = st.sampled_from([f"n{number}" for number in range(9)])
contents = st.one_of(
    st.text(max_size=5),
    st.lists(st.one_of(st.builds(picture, st.sampled_from(["", "A", "B" * 300_000])), st.just({"type": "text", "text": "t"})), max_size=3),
)


@st.composite
def entries(draw: st.DrawFn, least: int = 0) -> list[Json]:
    """Entries with ids of their own, each with some parent; now and then a compaction."""
    made: list[Json] = []
    for name in draw(st.lists(names, unique=True, min_size=least, max_size=6)):
        parent = draw(st.one_of(st.just(made[-1]["id"] if made else None), st.none(), names))
        if draw(st.integers(0, 4)) == 0:
            made.append(compaction(name, parent, draw(st.one_of(st.none(), names))))
        else:
            made.append(message(name, parent, draw(contents), role=draw(st.sampled_from(["user", "assistant", "toolResult"]))))
    return made


steps = st.lists(
    st.one_of(
        st.tuples(st.just("save"), entries(), st.booleans()),
        st.tuples(st.just("append"), entries(least=1), st.booleans()),
    ),
    max_size=6,
)


def expected_context(known: Json | None) -> list[str]:
    """The definition, on the whole document."""
    if known is None:
        return []
    by_id = {entry["id"]: entry for entry in known["entries"]}
    path: list[Json] = []
    at = known["leafId"]
    while at in by_id and by_id[at] not in path:
        path.append(by_id[at])
        at = by_id[at]["parentId"]
    cut = next((n for n, entry in enumerate(path) if entry["type"] == "compaction"), None)
    if cut is None:
        return ids(path[::-1])
    older = ids(path[cut + 1 :])
    first_kept = path[cut]["firstKeptEntryId"]
    kept = older[: older.index(first_kept) + 1] if first_kept in older else []
    return [path[cut]["id"], *kept[::-1], *ids(path[:cut][::-1])]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=steps)
@example(history=[("save", [compaction("n0", None, None)], False), ("append", [message("n1", "n1", [picture("")])], False)])
def test_a_session_is_what_its_history_made_it(memory_flue: Flue, history: list[tuple[str, list[Json], bool]]) -> None:
    sessions = memory_flue.sessions
    sessions.delete(KEY)
    known: Json | None = None
    for verb, made, flag in history:
        if verb == "save":
            known = document(made, leafId=made[-1]["id"] if made and flag else None)
            sessions.save(KEY, known)
        elif known is not None:
            known = appended(memory_flue, known, made, expect=flag)
        found = sessions.load(KEY)
        assert found == known
        assert ids(sessions.context(KEY)) == expected_context(known)
        assert sessions.tail(KEY, 3) == (known["entries"][-3:] if known else [])


def appended(flue: Flue, known: Json, made: list[Json], *, expect: bool) -> Json:
    """What the document is after an append, and the append itself."""
    stored = {entry["id"]: entry for entry in known["entries"]}
    repeated = all(stored.get(entry["id"]) == entry for entry in made)
    taken = any(entry["id"] in stored for entry in made)
    try:
        leaf = flue.sessions.append(KEY, made, expected_leaf=known["leafId"] if expect else None)
    except SessionConflictError:
        assert taken
        assert not repeated
        return known
    assert leaf == made[-1]["id"]
    assert repeated or not taken
    if repeated:
        return known
    after = flue.sessions.load(KEY)
    assert after is not None
    return {**known, "entries": [*known["entries"], *made], "leafId": leaf, "updatedAt": after["updatedAt"]}
