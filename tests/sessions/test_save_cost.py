"""What saving and reading cost: a save sends what changed, and long sessions are as cheap as short ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla import Flue
from flue_sqla.models import tables
from flue_sqla.wire import canonical_json
from tests.databases.numbers import analyze, insert_many, numbers, text_of
from tests.databases.traffic import Traffic
from tests.sessions.documents import KEY, chain, compaction, document, ids, message, picture

LONG = 10_000


@pytest.fixture
def traffic(flue: Flue) -> Traffic:
    return Traffic(flue.engine)


def test_one_entry_more_is_one_entry_sent(flue: Flue, traffic: Traffic) -> None:
    entries = chain(LONG)
    flue.sessions.save(KEY, document(entries))
    entries.append(message("new", f"e{LONG - 1}"))
    with traffic.measured():
        flue.sessions.save(KEY, document(entries))
    # The lock on SQLite's file, the session's row, the new entry, the row again.
    assert len(traffic.statements) <= 4
    assert traffic.rows_sent <= 4
    assert traffic.bytes < 2_500
    assert ids(flue.sessions.tail(KEY, 2)) == [f"e{LONG - 1}", "new"]


def test_nothing_changed_is_nothing_written(flue: Flue, traffic: Traffic) -> None:
    flue.sessions.save(KEY, document(chain(LONG)))
    with traffic.measured():
        flue.sessions.save(KEY, document(chain(LONG)))
    assert len(traffic.statements) <= 2
    assert not any(statement.startswith(("INSERT", "UPDATE")) for statement in traffic.statements)


def test_a_change_inside_sends_that_entry(flue: Flue, traffic: Traffic) -> None:
    entries = chain(1_000)
    flue.sessions.save(KEY, document(entries))
    entries[500] = message("e500", "e499", "changed")
    with traffic.measured():
        flue.sessions.save(KEY, document(entries))
    assert len(traffic.statements) <= 5
    assert traffic.rows_sent <= 5
    assert flue.sessions.load(KEY) == document(entries)


def test_images_are_sent_only_when_they_change(flue: Flue, traffic: Traffic) -> None:
    pictured = message("p", None, [picture("A" * 300_000), {"type": "text", "text": "x"}])
    flue.sessions.save(KEY, document([pictured]))
    changed = copy.deepcopy(pictured)
    changed["message"]["content"][1]["text"] = "another"
    with traffic.measured():
        flue.sessions.save(KEY, document([changed]))
    assert traffic.bytes < 5_000
    assert flue.sessions.load(KEY) == document([changed])
    changed["message"]["content"][0]["data"] = "B" * 300_000
    with traffic.measured():
        flue.sessions.save(KEY, document([changed]))
    assert traffic.bytes > 300_000
    assert flue.sessions.load(KEY) == document([changed])


def test_a_save_after_appends_looks_at_the_appended_entries_only(flue: Flue, traffic: Traffic) -> None:
    entries = chain(LONG)
    flue.sessions.save(KEY, document(entries))
    appended = chain(3, LONG)
    flue.sessions.append(KEY, appended)
    loaded = flue.sessions.load(KEY)
    assert loaded is not None
    loaded["entries"].append(message("last", f"e{LONG + 2}"))
    loaded["leafId"] = "last"
    with traffic.measured():
        flue.sessions.save(KEY, loaded)
    assert traffic.rows_sent <= 5
    assert traffic.bytes < 2_500
    assert flue.sessions.load(KEY) == loaded


# -- rows of another writer --------------------------------------------------------------------------------------------------------


def written_elsewhere(flue: Flue, entries: list[Any], **changes: Any) -> None:
    """What a Flue 1 server stores: none of our columns."""
    head = {name: value for name, value in document(entries, **changes).items() if name != "entries"}
    with flue.engine.begin() as connection:
        connection.execute(sa.delete(tables.session_entries))
        connection.execute(sa.delete(tables.sessions))
        connection.execute(sa.insert(tables.sessions), {"id": KEY, "data": canonical_json(head)})
        rows = [{"session_id": KEY, "entry_id": e["id"], "position": n, "data": canonical_json(e)} for n, e in enumerate(entries)]
        connection.execute(sa.insert(tables.session_entries), rows)


def test_a_session_without_our_columns_is_read_and_saved_right(flue: Flue, traffic: Traffic) -> None:
    entries = [*chain(6), compaction("c", "e5", "e4"), message("f", "c")]
    written_elsewhere(flue, entries)
    assert flue.sessions.load(KEY) == document(entries)
    assert ids(flue.sessions.context(KEY)) == ["c", "e4", "e5", "f"]
    assert ids(flue.sessions.tail(KEY, 2)) == ["c", "f"]
    entries.append(message("g", "f"))
    with traffic.measured():
        flue.sessions.save(KEY, document(entries))
    assert not any(statement.startswith("DELETE FROM flue_session") for statement in traffic.statements)
    assert flue.sessions.load(KEY) == document(entries)
    with traffic.measured():
        flue.sessions.save(KEY, document([*entries, message("h", "g")]))
    assert traffic.rows_sent <= 4, "from the first save on it is a session of ours"


def test_an_append_to_a_session_without_our_columns(flue: Flue) -> None:
    written_elsewhere(flue, chain(3))
    flue.sessions.append(KEY, [message("e3", "e2")], expected_leaf="e2")
    flue.sessions.append(KEY, [message("e4", "e3")], expected_leaf="e3")
    assert ids(flue.sessions.context(KEY)) == ["e0", "e1", "e2", "e3", "e4"]
    entries = [*chain(5), message("e5", "e4")]
    flue.sessions.save(KEY, document(entries))
    assert flue.sessions.load(KEY) == document(entries)


def test_what_another_writer_changed_under_our_digests_is_noticed(flue: Flue) -> None:
    ours = document(chain(4))
    flue.sessions.save(KEY, ours)
    theirs = {**ours, "updatedAt": "2026-06-04T00:00:00.000Z", "leafId": "e2"}
    head = {name: value for name, value in theirs.items() if name != "entries"}
    with flue.engine.begin() as connection:
        # An older writer leaves our columns as they were.
        connection.execute(sa.update(tables.sessions).values(data=canonical_json(head)))
        edited = canonical_json(message("e1", "e0", "theirs"))
        connection.execute(sa.update(tables.session_entries).where(tables.session_entries.c.entry_id == "e1").values(data=edited))
        connection.execute(sa.delete(tables.session_entries).where(tables.session_entries.c.entry_id == "e3"))
    assert ids(flue.sessions.context(KEY)) == ["e0", "e1", "e2"]
    flue.sessions.append(KEY, [message("x", "e2")], expected_leaf="e2")
    assert ids(flue.sessions.context(KEY)) == ["e0", "e1", "e2", "x"]
    flue.sessions.save(KEY, ours)
    assert flue.sessions.load(KEY) == ours


# -- flat from short to long --------------------------------------------------------------------------------------------------------


def fill(flue: Flue, entries: int) -> None:
    """A session of this many messages with a compaction near its end, written by the database itself."""
    flue.sessions.save(KEY, document([message("e0", None, "first")]))
    flue.sessions.append(KEY, [message("e1", "e0")])
    source, n, bounded = numbers(entries)
    name, parent = sa.literal("e") + text_of(n), sa.literal("e") + text_of(n - 1)
    texts = sa.literal('{"type":"message","id":"') + name + '","parentId":"' + parent + '"}'
    rows = sa.select(sa.literal(KEY), name, n, texts, parent, sa.literal("message")).select_from(source).where(n >= 2, bounded)
    columns = ["session_id", "entry_id", "position", "data", "parent_id", "kind"]
    with flue.engine.begin() as connection:
        insert_many(connection, sa.insert(tables.session_entries).from_select(columns, rows))
        connection.execute(sa.update(tables.sessions).values(entry_count=entries))
    analyze(flue.engine, "flue_session_entries")
    flue.sessions.append(KEY, [message("x", f"e{entries - 1}")])
    flue.sessions.append(KEY, [compaction("c", "x", f"e{entries - 5}"), message("y", "c")])


def pages_touched(flue: Flue, call: Callable[[], Any]) -> int:
    """Pages that PostgreSQL looked at for one call, by its own count."""
    explained: list[int] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
        raw = connection.connection.driver_connection.cursor()
        raw.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement, parameters)
        plan = raw.fetchone()[0][0]["Plan"]
        explained.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    sa.event.listen(flue.engine, "before_cursor_execute", explain)
    try:
        call()
    finally:
        sa.event.remove(flue.engine, "before_cursor_execute", explain)
    return sum(explained)


@pytest.mark.databases("postgres")
def test_reads_touch_as_many_pages_of_a_long_session_as_of_a_short_one(flue: Flue) -> None:
    touched: dict[int, list[int]] = {}
    for length in (100, 100_000):
        fill(flue, length)
        assert ids(flue.sessions.context(KEY)) == ["c", *(f"e{n}" for n in range(length - 5, length)), "x", "y"]
        touched[length] = [
            pages_touched(flue, lambda: flue.sessions.context(KEY)),
            pages_touched(flue, lambda: flue.sessions.tail(KEY, 10)),
        ]
        flue.sessions.delete(KEY)
    for short, long in zip(touched[100], touched[100_000], strict=True):
        assert long <= 2 * short + 30, touched


@pytest.mark.databases("sqlite", "mariadb")
def test_reads_use_an_index_of_a_long_session(flue: Flue) -> None:
    fill(flue, 100_000)
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
        raw = connection.connection.driver_connection.cursor()
        raw.execute(("EXPLAIN QUERY PLAN " if flue.engine.dialect.name == "sqlite" else "EXPLAIN ") + statement, parameters)
        plans.extend(map(str, raw.fetchall()))

    sa.event.listen(flue.engine, "before_cursor_execute", explain)
    try:
        assert ids(flue.sessions.context(KEY))[:2] == ["c", "e99995"]
        assert ids(flue.sessions.tail(KEY, 2)) == ["c", "y"]
    finally:
        sa.event.remove(flue.engine, "before_cursor_execute", explain)
    for plan in plans:
        assert "SCAN flue_session_entries" not in plan, plans
        assert "'ALL'" not in plan or "derived" in plan or "union" in plan, plans
