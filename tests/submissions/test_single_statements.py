"""On SQLite a single statement goes without BEGIN and COMMIT, and keeps what those give: all or nothing, and a lock that is waited for."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine

from flue_sqla import Flue, transactions
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.dialects import engines
from flue_sqla.errors import SerializationConflict
from flue_sqla.wire import stream_path
from tests.databases.contract import Database
from tests.submissions.inputs import run

pytestmark = pytest.mark.databases("sqlite")
PATH = stream_path("assistant", "agent-1")


@contextmanager
def sent(engine: sa.Engine) -> Iterator[list[str]]:
    """What SQLite is given, by its own account."""
    statements: list[str] = []

    def trace(connection: Any, *_: Any) -> None:
        connection.set_trace_callback(lambda text: statements.append(text.split()[0]))

    event.listen(engine, "checkout", trace)
    yield statements
    event.remove(engine, "checkout", trace)


def test_it_is_all_that_is_sent(flue: Flue) -> None:
    attempt = run(flue, "one")
    with sent(flue.engine) as statements:
        assert flue.submissions.mark_input_applied(attempt)
        assert flue.submissions.get("one") is not None
    assert statements == ["UPDATE", "SELECT"]
    with sent(flue.engine) as statements:
        flue.conversations.create(PATH, "assistant", "agent-1")
    assert (statements[0], statements[-1]) == ("BEGIN", "COMMIT"), "several statements are one transaction"


@pytest.mark.parametrize("seconds", [0.05, 0.4])
def test_it_waits_for_the_write_lock_as_long_as_a_transaction_would(
    flue: Flue, migrated: Database, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    attempt = run(flue, "one")
    monkeypatch.setattr(transactions, "_ATTEMPTS", 1)
    event.listen(flue.engine, "checkout", lambda connection, *_: connection.execute(f"PRAGMA busy_timeout={seconds * 1000:.0f}"))
    with closing(sqlite3.connect(migrated.schema_name, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(SerializationConflict, match="database is locked"):
            flue.submissions.mark_input_applied(attempt)
        assert time.monotonic() - started >= seconds * 0.9
        assert flue.submissions.get("one") is not None, "a reader waits for nobody"
        other.execute("COMMIT")
    assert flue.submissions.mark_input_applied(attempt)


def test_it_is_tried_again_while_another_writes(flue: Flue, migrated: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt, pauses = run(flue, "one"), []
    event.listen(flue.engine, "checkout", lambda connection, *_: connection.execute("PRAGMA busy_timeout=1"))
    with closing(sqlite3.connect(migrated.schema_name, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        def pause(nth: int) -> None:
            pauses.append(nth)
            if nth == 2:
                other.execute("COMMIT")

        monkeypatch.setattr(transactions, "_pause", pause)
        assert flue.submissions.mark_input_applied(attempt)
    assert pauses == [0, 1, 2]


def test_many_at_once_lose_nothing(flue: Flue) -> None:
    flue.conversations.create(PATH, "assistant", "agent-1")
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda n: flue.conversations.acquire_producer(PATH, f"owner-{n}"), range(80)))
    assert sorted(claim.producer_epoch for claim in claims) == list(range(1, 81))


def test_what_it_answers_is_committed(migrated: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a write-ahead log it is the commit that waits for readers, and that comes after the row which is returned."""
    monkeypatch.setattr(engines, "_switch_to_wal", lambda _: None)
    with closing(sqlite3.connect(migrated.schema_name, isolation_level=None)) as reader, Flue(migrated.url) as flue:
        assert reader.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
        flue.conversations.create(PATH, "assistant", "agent-1")
        event.listen(flue.engine, "checkout", lambda connection, *_: connection.execute("PRAGMA busy_timeout=1"))
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM flue_meta").fetchall()
        with pytest.raises(SerializationConflict, match="database is locked"):
            flue.conversations.acquire_producer(PATH, "owner")
        reader.execute("COMMIT")
        assert flue.conversations.acquire_producer(PATH, "owner").producer_epoch == 1


def test_a_host_s_engine_begins_and_commits_as_ever(migrated: Database) -> None:
    """The driver begins a transaction before the statement, and only the commit ends it."""
    host = sa.create_engine(migrated.url)
    attempt = run(Flue(engine=host), "one")
    with sent(host) as statements:
        assert Flue(engine=host).submissions.mark_input_applied(attempt)
    assert statements == ["BEGIN", "UPDATE", "COMMIT"]
    host.dispose()


async def test_a_host_s_async_engine_commits_too(migrated: Database) -> None:
    host = create_async_engine(migrated.async_url)
    await AsyncFlue(engine=host).conversations.create(PATH, "assistant", "agent-1")
    claim = await AsyncFlue(engine=host).conversations.acquire_producer(PATH, "owner")
    await host.dispose()
    assert migrated.admin_execute("SELECT producer_epoch FROM flue_conversation_streams") == [(claim.producer_epoch,)]
