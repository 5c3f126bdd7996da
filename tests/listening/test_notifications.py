"""Wake-ups between processes on PostgreSQL: each Flue here stands for a process of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla import Flue
from tests.databases.contract import Database
from tests.listening.support import PATH, SOON, Looks, Writer, listening, reading, settings

pytestmark = pytest.mark.databases("postgres")

LISTENERS = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%%' AND datname = current_database()"

Start = Callable[..., Flue]


@pytest.fixture
def start(migrated: Database) -> Iterator[Start]:
    """Starts one more Flue on the test's database."""
    with ExitStack() as flues:

        def start(*, engine: sa.Engine | None = None, schema: str | None = None, **changes: Any) -> Flue:
            url = None if engine is not None else migrated.url
            return flues.enter_context(Flue(url, engine=engine, schema=schema, settings=settings(**changes)))

        yield start


def test_an_append_of_another_process_wakes_without_polling(start: Start) -> None:
    writer, here = Writer(start()), start()
    listening(here)
    with Looks(here) as looks, reading(here) as reader:
        looks.wait()
        writer.append()
        assert reader.next() == "record_0"


def test_paths_of_any_length_and_alphabet_notify(start: Start) -> None:
    path = "agents/écho\u2603/" + "x" * 20_000
    writer, here = Writer(start(), path), start()
    listening(here)
    with Looks(here) as looks, reading(here, path=path) as reader:
        looks.wait()
        writer.append()
        assert reader.next() == "record_0"


def test_it_is_one_connection_per_flue_and_none_after_close(start: Start, migrated: Database) -> None:
    here = start()
    listening(here)
    followers = [here.conversations.follow(f"agents/echo/{number}", idle_timeout_ms=1) for number in range(5)]
    assert [list(follower) for follower in followers] == [[]] * 5
    assert len(migrated.admin_execute(LISTENERS)) == 1
    assert here.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    here.close()
    assert migrated.admin_execute(LISTENERS) == []


def test_without_a_waiter_there_is_no_listener(start: Start, migrated: Database) -> None:
    Writer(start()).append()
    assert migrated.admin_execute(LISTENERS) == []


def test_a_host_pool_of_size_one_is_enough(start: Start, migrated: Database) -> None:
    engine = sa.create_engine(migrated.url, pool_size=1, max_overflow=0, pool_timeout=SOON)
    here = start(engine=engine)
    listening(here)
    writer = Writer(here)
    with Looks(here) as looks, reading(here) as reader:
        looks.wait()
        # While the only connection is in use, here and for longer, the listener needs none of it.
        with engine.connect():
            Writer(start()).append()
        assert reader.next() == "record_0"
        writer.claim = here.conversations.acquire_producer(PATH, "writer")
        writer.append()
        assert reader.next() == "record_0"
    engine.dispose()


def test_the_hosts_own_way_of_connecting_is_used(start: Start, migrated: Database) -> None:
    import psycopg

    opened: list[threading.Thread] = []

    def connect() -> psycopg.Connection[Any]:
        opened.append(threading.current_thread())
        url = sa.make_url(migrated.url)
        return psycopg.connect(host=url.host, port=url.port, user=url.username, dbname=url.database)

    engine = sa.create_engine("postgresql+psycopg://nobody@host.invalid/", creator=connect)
    listening(start(engine=engine))
    assert {thread.name for thread in opened} == {"flue-listener"}
    engine.dispose()


def test_notifications_can_be_switched_off(start: Start, migrated: Database) -> None:
    silent = start(notify=False, poll_interval_ms=20)
    statements: list[str] = []
    sa.event.listen(silent.engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: statements.append(statement))
    writer = Writer(silent)
    with reading(silent) as reader:
        writer.append()
        assert reader.next() == "record_0"
    assert silent.listener.listener is None
    assert migrated.admin_execute(LISTENERS) == []
    assert not [statement for statement in statements if "pg_notify" in statement]


def test_a_process_that_does_not_notify_is_seen_after_one_poll_interval(start: Start) -> None:
    writer, here = Writer(start(notify=False)), start(poll_interval_ms=50)
    listening(here)
    with Looks(here) as looks, reading(here) as reader:
        looks.wait()
        writer.append()
        assert reader.next() == "record_0"


def test_subscribers_hear_their_own_process_exactly_once(start: Start) -> None:
    """Our own notification comes back to us; the contract says one call per append (spec/streams.md §3.7)."""
    here, other = start(), start()
    heard: list[str] = []
    arrived = threading.Semaphore(0)
    here.conversations.subscribe(PATH, lambda: heard.append("append"))
    listening(here)
    here.signals.subscribe(f"stream:{PATH}", arrived.release, remote=True)
    writer = Writer(here)
    writer.append()
    for _ in range(2):
        assert arrived.acquire(timeout=SOON)
    Writer(other).append()
    assert arrived.acquire(timeout=SOON)
    assert heard == ["append"]


def test_each_schema_has_a_channel_of_its_own(start: Start) -> None:
    one, other = start(), start(schema='Elsewhere "%"')
    assert one.signals.channel != other.signals.channel
    listening(one)
    listening(other)
    woken = threading.Event()
    other.signals.subscribe(f"stream:{PATH}", woken.set, remote=True)
    proof = threading.Event()
    one.signals.subscribe(f"stream:{PATH}", proof.set, remote=True)
    Writer(start()).append()
    assert proof.wait(SOON)
    assert not woken.is_set()


def test_what_is_committed_while_the_listener_is_away_is_seen_when_it_is_back(start: Start, migrated: Database) -> None:
    writer, here = Writer(start()), start()
    listening(here)
    with Looks(here) as looks, reading(here) as reader:
        looks.wait()
        # Nobody is told of this one: the reader wakes because the listener came back.
        writer.flue.signals.notify = False
        writer.append()
        migrated.admin_execute(f"SELECT pg_terminate_backend(pid) FROM ({LISTENERS}) listeners")
        assert reader.next() == "record_0"
        writer.flue.signals.notify = True
        listening(here)
        looks.wait()
        writer.append()
        assert reader.next() == "record_1"


@pytest.mark.faults
def test_following_survives_a_restart_of_the_server(start: Start, migrated: Database, caplog: pytest.LogCaptureFixture) -> None:
    writer, here = Writer(start()), start(poll_interval_ms=50)
    listening(here)
    with caplog.at_level(logging.WARNING, logger="flue_sqla.listening"), reading(here) as reader:
        writer.append()
        assert reader.next() == "record_0"
        with migrated.stopped():
            assert reader.is_alive()
        writer.append()
        assert reader.next() == "record_1"
    assert len([record for record in caplog.records if "interrupted" in record.message]) <= 2, "an outage is logged once per part"


def test_closing_does_not_wait_for_a_server_that_is_away(start: Start, migrated: Database) -> None:
    here = start()
    listening(here)
    with reading(here), migrated.stopped():
        pass
    here.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "flue-listener"]


def test_the_listener_is_never_the_first_to_meet_the_server(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLAlchemy's dialect learns about the server at the first connection; whoever comes second must find it finished."""
    here = start()
    learn, taken_from_the_pool = here.engine.dialect.initialize, []

    def initialize(connection: sa.Connection) -> None:
        taken_from_the_pool.append(here.engine.pool.checkedout())  # type: ignore[attr-defined]
        learn(connection)

    monkeypatch.setattr(here.engine.dialect, "initialize", initialize)
    listening(here)
    assert taken_from_the_pool == [1]
