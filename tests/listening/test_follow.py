"""``follow``: batches as they come, in order, on every database, until somebody closes it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from flue_sqla import Flue
from flue_sqla.errors import ConversationStreamStoreError, InvalidInputError
from tests.databases.contract import Database
from tests.listening.support import PATH, Looks, Writer, reading, settings


@pytest.fixture
def quiet(migrated: Database) -> Iterator[Flue]:
    """A Flue that never polls within a test: only wake-ups move its followers."""
    flue = Flue(migrated.url, settings=settings())
    yield flue
    flue.close()


def test_what_is_there_comes_first_and_then_what_is_appended(quiet: Flue) -> None:
    writer = Writer(quiet)
    writer.append()
    with reading(quiet) as reader:
        assert reader.next() == "record_0"
        writer.append()
        assert reader.next() == "record_1"


def test_pages_are_read_on_until_the_head(quiet: Flue) -> None:
    writer = Writer(quiet)
    for _ in range(7):
        writer.append()
    with reading(quiet, limit=2) as reader:
        assert [reader.next() for _ in range(7)] == [f"record_{number}" for number in range(7)]


def test_following_from_an_offset_and_from_now(quiet: Flue) -> None:
    writer = Writer(quiet)
    first = writer.append()
    writer.append()
    with Looks(quiet) as looks, reading(quiet, first) as after_first, reading(quiet, "now") as from_now:
        assert after_first.next() == "record_1"
        looks.wait(3)
        writer.append()
        assert (after_first.next(), from_now.next()) == ("record_2", "record_2")


def test_a_stream_that_does_not_exist_yet_is_waited_for(quiet: Flue) -> None:
    with reading(quiet) as reader:
        Writer(quiet).append()
        assert reader.next() == "record_0"


def test_the_offset_says_where_to_go_on(quiet: Flue) -> None:
    writer = Writer(quiet)
    offsets = [writer.append() for _ in range(3)]
    following = quiet.conversations.follow(PATH, limit=1)
    assert [next(following).offset, next(following).offset] == offsets[:2]
    assert following.offset == offsets[1]
    assert next(quiet.conversations.follow(PATH, following.offset)).offset == offsets[2]


def test_closing_ends_a_follower_that_waits(quiet: Flue) -> None:
    with Looks(quiet) as looks, reading(quiet) as reader:
        looks.wait()
        reader.following.close()
        assert reader.next() is None
        assert list(reader.following) == []


def test_closing_the_flue_ends_followers_in_any_state_and_it_can_be_used_again(quiet: Flue) -> None:
    writer = Writer(quiet)
    writer.append()
    between = quiet.conversations.follow(PATH)
    next(between)
    with Looks(quiet) as looks, reading(quiet, "now") as reader:
        looks.wait()
        quiet.close()
        assert reader.next() is None
    assert list(between) == []
    assert next(quiet.conversations.follow(PATH)).records == [{"id": "record_0"}]


def test_an_idle_timeout_ends_the_iteration(quiet: Flue) -> None:
    Writer(quiet).append()
    assert [batch.records for batch in quiet.conversations.follow(PATH, idle_timeout_ms=1)] == [[{"id": "record_0"}]]


def test_nothing_is_subscribed_between_two_items_nor_after_the_end(quiet: Flue) -> None:
    writer = Writer(quiet)
    writer.append()
    with quiet.conversations.follow(PATH) as following:
        next(following)
        assert _subscriptions(quiet) == 0
    with Looks(quiet) as looks, reading(quiet) as reader:
        reader.next()
        looks.wait(2)
    assert _subscriptions(quiet) == 0


def test_a_wrong_offset_is_refused_at_once_and_one_beyond_the_head_when_read(quiet: Flue) -> None:
    Writer(quiet)
    with pytest.raises(InvalidInputError, match="Invalid stream offset"):
        quiet.conversations.follow(PATH, "first")
    with pytest.raises(ConversationStreamStoreError, match="beyond the canonical stream head"):
        next(quiet.conversations.follow(PATH, "0_7"))


def test_a_unit_wakes_followers_at_its_commit_and_not_before(quiet: Flue) -> None:
    writer = Writer(quiet)
    woken = threading.Event()
    quiet.conversations.subscribe(PATH, woken.set)
    with Looks(quiet) as looks, reading(quiet) as reader:
        looks.wait()
        with quiet.begin() as unit:
            unit.conversations.append(
                PATH,
                producer_id="writer",
                producer_epoch=writer.claim.producer_epoch,
                incarnation=writer.claim.incarnation,
                producer_sequence=0,
                records=[{"id": "record_0"}],
            )
            assert not woken.is_set()
        assert woken.is_set()
        assert reader.next() == "record_0"


def _subscriptions(flue: Flue) -> int:
    return sum(len(listeners) for listeners in flue.signals._listeners.values())
