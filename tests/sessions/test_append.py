"""``append``, ``tail`` and ``context``: long conversations without the whole document."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla import Flue
from flue_sqla.errors import InvalidInputError, SessionConflictError, SessionMissingError, ValueTooLargeError
from flue_sqla.models import tables
from flue_sqla.wire import canonical_json
from tests.databases.contract import Database
from tests.databases.traffic import Traffic
from tests.sessions.documents import KEY, chain, compaction, document, ids, message, picture
from tests.submissions.waiting import in_background, until_blocked


@pytest.fixture
def session(flue: Flue) -> Flue:
    """A Flue with a session of five messages."""
    flue.sessions.save(KEY, document(chain(5)))
    return flue


def test_appended_entries_follow_the_saved_ones(session: Flue) -> None:
    assert session.sessions.append(KEY, chain(2, 5), expected_leaf="e4") == "e6"
    assert session.sessions.append(KEY, [message("e7", "e6")]) == "e7"
    loaded = session.sessions.load(KEY)
    assert loaded is not None
    assert ids(loaded["entries"]) == [f"e{n}" for n in range(8)]
    assert loaded["leafId"] == "e7"
    assert {**loaded, "entries": [], "leafId": None, "updatedAt": None} == document([], leafId=None, updatedAt=None)


def test_the_document_keeps_every_other_byte(flue: Flue) -> None:
    # What PostgreSQL changes in place must come out as JavaScript would write it.
    metadata = {"é": 1.5, "10": [1e21, {"leafId": "e1", "updatedAt": 1}], 'a"b\\': "\U0001f916\u2028/", "": None}
    flue.sessions.save(KEY, document(chain(2), metadata=metadata, leafId="e1", extra=True))
    flue.sessions.append(KEY, [message("e2", "e1")])
    expected = document([], metadata=metadata, leafId="e2", extra=True)
    with flue.engine.connect() as connection:
        stored = connection.execute(sa.select(tables.sessions.c.data)).scalar_one()
    loaded = flue.sessions.load(KEY)
    assert loaded is not None
    expected["updatedAt"] = loaded["updatedAt"]
    del expected["entries"]
    assert stored == canonical_json(expected)
    assert loaded["updatedAt"].startswith("20")
    assert loaded["updatedAt"].endswith("Z")


@pytest.mark.parametrize(
    "changes",
    [{"metadata": {"nul": "\0", "half": "\ud800"}}, {"updatedAt": 17}, {"metadata": {"text": "\\u0000"}}],
)
def test_documents_that_the_server_cannot_edit_are_edited_here(flue: Flue, changes: dict[str, Any]) -> None:
    data = document(chain(2), **changes)
    flue.sessions.save(KEY, data)
    flue.sessions.append(KEY, [message("e2", "e1")], expected_leaf="e1")
    loaded = flue.sessions.load(KEY)
    assert loaded is not None
    assert loaded["leafId"] == "e2"
    assert type(loaded["updatedAt"]) is type(data["updatedAt"])
    assert loaded["metadata"] == data["metadata"]


def test_a_document_without_a_leaf_gets_one(flue: Flue) -> None:
    flue.sessions.save(KEY, {"entries": []})
    flue.sessions.append(KEY, [message("e0", None)])
    assert flue.sessions.load(KEY) == {"entries": [message("e0", None)], "leafId": "e0"}


def test_another_leaf_is_a_conflict(session: Flue) -> None:
    session.sessions.append(KEY, [message("e5", "e4")], expected_leaf="e4")
    with pytest.raises(SessionConflictError) as refused:
        session.sessions.append(KEY, [message("other", "e4")], expected_leaf="e4")
    assert refused.value.meta == {"sessionId": KEY, "expectedLeaf": "e4", "leaf": "e5"}
    assert ids(session.sessions.tail(KEY, 2)) == ["e4", "e5"]


def test_a_repeated_append_changes_nothing(session: Flue) -> None:
    entries = [message("e5", "e4", [picture("A" * 300_000)]), message("e6", "e5")]
    session.sessions.append(KEY, entries, expected_leaf="e4")
    before = session.sessions.load(KEY)
    assert session.sessions.append(KEY, entries, expected_leaf="e4") == "e6"
    assert session.sessions.load(KEY) == before


@pytest.mark.parametrize(
    "entries",
    [
        [message("e4", "e3", "another text")],
        [message("e5", "e4"), message("e4", "e3", "message 4")],
        [message("e4", "e3", [picture("A")])],
    ],
)
def test_a_taken_id_is_a_conflict(session: Flue, entries: list[Any]) -> None:
    before = session.sessions.load(KEY)
    with pytest.raises(SessionConflictError):
        session.sessions.append(KEY, entries)
    assert session.sessions.load(KEY) == before


def test_what_cannot_be_appended(session: Flue) -> None:
    with pytest.raises(SessionMissingError):
        session.sessions.append("agent-session:unknown", [message("e0", None)])
    for bad in ([], [{"type": "message"}], ["text"], {"id": "e5"}, [message("e5", "e4"), message("e5", "e4")]):
        with pytest.raises(InvalidInputError):
            session.sessions.append(KEY, bad)  # type: ignore[arg-type]
    with pytest.raises(ValueTooLargeError, match="14680064"):
        session.sessions.append(KEY, [message("e5", "e4", [picture("A" * (14 * 1024 * 1024 + 1))])])
    for leaf in ("nul \0", "lone \ud800 surrogate", 4):
        with pytest.raises(InvalidInputError, match="expected_leaf"):
            session.sessions.append(KEY, [message("e5", "e4")], expected_leaf=leaf)  # type: ignore[arg-type]
    assert ids(session.sessions.tail(KEY, 1)) == ["e4"]


def test_images_of_appended_entries(session: Flue) -> None:
    entry = message("e5", "e4", [picture("A" * 600_000), {"type": "text", "text": "x"}, picture("")], role="toolResult")
    session.sessions.append(KEY, [entry])
    assert session.sessions.tail(KEY, 1) == [entry]
    assert session.sessions.context(KEY)[-1] == entry
    loaded = session.sessions.load(KEY)
    assert loaded is not None
    assert loaded["entries"][-1] == entry


def test_in_a_unit_an_append_is_part_of_it(session: Flue) -> None:
    with pytest.raises(LookupError), session.begin() as unit:  # noqa: PT012
        unit.sessions.append(KEY, [message("e5", "e4")], expected_leaf="e4")
        assert ids(unit.sessions.tail(KEY, 1)) == ["e5"]
        raise LookupError
    with session.begin() as unit:
        with pytest.raises(SessionConflictError):
            unit.sessions.append(KEY, [message("e4", "e3", "other")])
        unit.sessions.append(KEY, [message("e6", "e4")])
    assert ids(session.sessions.tail(KEY, 2)) == ["e4", "e6"]


def test_tail(session: Flue) -> None:
    assert ids(session.sessions.tail(KEY, 2)) == ["e3", "e4"]
    assert ids(session.sessions.tail(KEY, 99)) == ["e0", "e1", "e2", "e3", "e4"]
    assert session.sessions.tail(KEY, 0) == [] == session.sessions.tail("unknown", 3)


@pytest.mark.databases("postgres", "mariadb")
def test_of_two_appends_that_expect_one_leaf_one_wins(session: Flue, migrated: Database) -> None:
    other = Flue(migrated.url)
    with session.begin() as unit:
        unit.sessions.append(KEY, [message("mine", "e4")], expected_leaf="e4")
        waiting = in_background(other.sessions.append, KEY, [message("theirs", "e4")], expected_leaf="e4")
        until_blocked(migrated, waiting)
    with pytest.raises(SessionConflictError):
        waiting.result(20)
    other.close()
    assert ids(session.sessions.context(KEY)) == ["e0", "e1", "e2", "e3", "e4", "mine"]


@pytest.mark.databases("postgres", "mariadb")
def test_an_append_that_waited_takes_the_next_position(session: Flue, migrated: Database) -> None:
    # A statement that looked for the last position in its own snapshot would take the first one's place.
    other = Flue(migrated.url)
    with session.begin() as unit:
        unit.sessions.append(KEY, chain(2, 5))
        waiting = in_background(other.sessions.append, KEY, [message("e7", "e6")])
        until_blocked(migrated, waiting)
    waiting.result(20)
    other.close()
    with session.engine.connect() as connection:
        positions = connection.execute(sa.select(tables.session_entries.c.position).order_by(tables.session_entries.c.position)).scalars()
        assert list(positions) == list(range(8))


@pytest.mark.databases("postgres")
def test_append_and_context_are_one_round_trip(session: Flue) -> None:
    traffic = Traffic(session.engine)
    with traffic.at_most(1):
        session.sessions.append(KEY, [message("e5", "e4", [picture("A" * 300_000)])], expected_leaf="e4")
    with traffic.at_most(1):
        session.sessions.append(KEY, [compaction("e6", "e5", "e4"), message("e7", "e6")])
    with traffic.at_most(1):
        assert ids(session.sessions.context(KEY)) == ["e6", "e4", "e5", "e7"]
    with traffic.at_most(1):
        session.sessions.tail(KEY, 3)
    with traffic.at_most(1):
        session.sessions.load(KEY)
