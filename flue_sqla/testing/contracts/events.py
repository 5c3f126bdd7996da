"""Event streams: spec/streams.md §10."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from flue_sqla.errors import FlueError
from flue_sqla.testing.stores import Stores

__all__ = ["EventContract"]

PATH = "runs/run_1"
OFFSETS = [f"{0:016d}_{number:016d}" for number in range(1_100)]


def stored(stores: Stores, path: str = PATH) -> list[Any]:
    return [event.data for event in stores.events.read(path).events]


class EventStreamContract:
    """Any JSON value, appended in order to an open stream."""

    def test_e01_a_missing_stream_reads_as_empty(self, stores: Stores) -> None:
        assert stores.events.read(PATH).to_wire() == {"events": [], "nextOffset": "-1", "upToDate": True, "closed": False}
        assert stores.events.get_meta(PATH) is None

    def test_e02_a_fresh_stream(self, stores: Stores) -> None:
        stores.events.create(PATH)
        meta = stores.events.get_meta(PATH)
        assert meta is not None
        assert meta.to_wire() == {"nextOffset": "-1", "closed": False}

    def test_e03_creation_touches_nothing_that_is_there(self, stores: Stores) -> None:
        stores.events.create(PATH)
        stores.events.append(PATH, {"v": 3})
        stores.events.close(PATH)
        stores.events.create(PATH)
        meta = stores.events.get_meta(PATH)
        assert meta is not None
        assert meta.to_wire() == {"nextOffset": OFFSETS[0], "closed": True}
        assert stored(stores) == [{"v": 3}]

    def test_e04_events_are_any_json_and_read_back_in_order(self, stores: Stores) -> None:
        stores.events.create(PATH)
        events: list[Any] = [{"type": "log", "2": None, "message": "é\U0001f916\u2028"}, [1.5, []], "text", 0, False, None]
        assert [stores.events.append(PATH, event) for event in events] == OFFSETS[: len(events)]
        page = stores.events.read(PATH)
        assert page.to_wire() == {
            "events": [{"data": event, "offset": offset} for event, offset in zip(events, OFFSETS, strict=False)],
            "nextOffset": OFFSETS[len(events) - 1],
            "upToDate": True,
            "closed": False,
        }

    def test_e05_appending_needs_an_open_stream(self, stores: Stores) -> None:
        with pytest.raises(FlueError, match=f'Event stream "{PATH}" does not exist.'):
            stores.events.append(PATH, 1)
        stores.events.create(PATH)
        stores.events.close(PATH)
        with pytest.raises(FlueError, match=f'Event stream "{PATH}" is closed.'):
            stores.events.append(PATH, 1)
        assert stored(stores) == []

    def test_e06_closing_is_idempotent_and_ignores_unknown_paths(self, stores: Stores) -> None:
        stores.events.close(PATH)
        assert stores.events.get_meta(PATH) is None
        stores.events.create(PATH)
        stores.events.append(PATH, 1)
        stores.events.close(PATH)
        stores.events.close(PATH)
        page = stores.events.read(PATH)
        assert (page.closed, [event.data for event in page.events]) == (True, [1])

    def test_e07_streams_are_independent(self, stores: Stores) -> None:
        for path in (PATH, "runs/run_2"):
            stores.events.create(path)
            stores.events.append(path, path)
        stores.events.close(PATH)
        stores.events.append("runs/run_2", 2)
        assert stored(stores) == [PATH]
        assert stored(stores, "runs/run_2") == ["runs/run_2", 2]

    def test_e08_concurrent_appends_all_get_an_offset_of_their_own(self, stores: Stores) -> None:
        stores.events.create(PATH)
        outcomes = stores.concurrently(*(partial(stores.events.append, PATH, number) for number in range(8)))
        offsets = [outcome.unwrap() for outcome in outcomes]
        assert sorted(offsets) == OFFSETS[:8]
        assert [event.data for event in stores.events.read(PATH).events] == sorted(range(8), key=lambda number: offsets[number])

    def test_e09_no_event_after_close(self, stores: Stores) -> None:
        for round_ in range(5):
            path = f"runs/run_{round_}"
            stores.events.create(path)
            append, close = stores.concurrently(partial(stores.events.append, path, 1), partial(stores.events.close, path))
            close.unwrap()
            assert len(stored(stores, path)) == (0 if append.raised else 1)
            with pytest.raises(FlueError, match="closed"):
                stores.events.append(path, 2)


class KeyedEventContract:
    """``append_once``."""

    def test_e10_a_repeated_key_returns_the_first_offset(self, stores: Stores) -> None:
        stores.events.create(PATH)
        assert stores.events.append_once(PATH, "key-1", {"a": 1}) == OFFSETS[0]
        stores.events.append(PATH, "between")
        assert stores.events.append_once(PATH, "key-1", {"a": 1}) == OFFSETS[0]
        assert stores.events.append_once(PATH, "key-2", {"a": 1}) == OFFSETS[2]
        assert stored(stores) == [{"a": 1}, "between", {"a": 1}]

    def test_e11_a_used_key_with_another_payload_is_a_conflict(self, stores: Stores) -> None:
        stores.events.create(PATH)
        stores.events.append_once(PATH, "key-1", {"a": 1, "b": 2})
        for other in ({"a": 2, "b": 2}, {"b": 2, "a": 1}, None):
            with pytest.raises(FlueError, match="conflicting payload"):
                stores.events.append_once(PATH, "key-1", other)
        assert stored(stores) == [{"a": 1, "b": 2}]

    def test_e12_a_repeat_is_answered_on_a_closed_stream_and_news_are_refused(self, stores: Stores) -> None:
        with pytest.raises(FlueError, match="does not exist"):
            stores.events.append_once(PATH, "key-1", 1)
        stores.events.create(PATH)
        stores.events.append_once(PATH, "key-1", 1)
        stores.events.close(PATH)
        assert stores.events.append_once(PATH, "key-1", 1) == OFFSETS[0]
        with pytest.raises(FlueError, match="conflicting payload"):
            stores.events.append_once(PATH, "key-1", 2)
        with pytest.raises(FlueError, match="closed"):
            stores.events.append_once(PATH, "key-2", 2)

    def test_e13_a_key_belongs_to_its_path(self, stores: Stores) -> None:
        for path in (PATH, "runs/run_2"):
            stores.events.create(path)
            assert stores.events.append_once(path, "key-1", path) == OFFSETS[0]

    def test_e14_concurrent_appends_under_one_key_store_one_event(self, stores: Stores) -> None:
        stores.events.create(PATH)
        outcomes = stores.concurrently(*[partial(stores.events.append_once, PATH, "key-1", 1)] * 4)
        assert {outcome.unwrap() for outcome in outcomes} == {OFFSETS[0]}
        assert stored(stores) == [1]

    def test_e15_concurrent_distinct_keys_get_distinct_offsets(self, stores: Stores) -> None:
        stores.events.create(PATH)
        outcomes = stores.concurrently(*(partial(stores.events.append_once, PATH, f"key-{n}", n) for n in range(6)))
        assert sorted(outcome.unwrap() for outcome in outcomes) == OFFSETS[:6]

    def test_e15b_an_exotic_key_is_matched_exactly(self, stores: Stores) -> None:
        stores.events.create(PATH)
        keys = ["direct-submission:é:settled", "direct-submission:e\u0301:settled", "KEY", "key", "k%y", ""]
        for number, key in enumerate(keys):
            assert stores.events.append_once(PATH, key, number) == OFFSETS[number], key


class EventReadContract:
    """Offsets, limits and listeners."""

    @pytest.mark.parametrize(("limit", "returned"), [(1, 1), (2, 2), (3, 3), (4, 3), (0, 3), (-1, 3), (None, 3)])
    def test_e16_limits(self, stores: Stores, limit: int | None, returned: int) -> None:
        stores.events.create(PATH)
        for number in range(3):
            stores.events.append(PATH, number)
        page = stores.events.read(PATH, limit=limit)
        assert [event.data for event in page.events] == list(range(returned))
        assert (page.next_offset, page.up_to_date) == (OFFSETS[returned - 1], returned == 3)

    def test_e17_default_and_maximum(self, stores: Stores) -> None:
        stores.events.create(PATH)
        for number in range(1_002):
            stores.rows.insert("flue_event_stream_entries", path=PATH, seq=number, data=str(number))
        stores.rows.update("flue_event_streams", {"path": PATH}, next_offset=1_002)
        for limit, returned in ((None, 100), (0, 100), (1_000, 1_000), (1_001, 1_000), (9_999, 1_000)):
            page = stores.events.read(PATH, limit=limit)
            assert (len(page.events), page.up_to_date) == (returned, False)

    def test_e18_reading_goes_on_strictly_after_an_offset(self, stores: Stores) -> None:
        stores.events.create(PATH)
        for number in range(3):
            stores.events.append(PATH, number)
        assert [event.data for event in stores.events.read(PATH, offset=OFFSETS[0]).events] == [1, 2]
        assert stores.events.read(PATH, offset="now").to_wire() == {
            "events": [],
            "nextOffset": OFFSETS[2],
            "upToDate": True,
            "closed": False,
        }

    def test_e19_beyond_the_head_is_no_error(self, stores: Stores) -> None:
        stores.events.create(PATH)
        stores.events.append(PATH, 1)
        page = stores.events.read(PATH, offset=OFFSETS[9])
        assert page.to_wire() == {"events": [], "nextOffset": OFFSETS[9], "upToDate": True, "closed": False}

    @pytest.mark.parametrize("offset", ["", "0", "abc", "1_", "-2"])
    def test_e20_a_malformed_offset_is_a_plain_error(self, stores: Stores, offset: str) -> None:
        stores.events.create(PATH)
        with pytest.raises((FlueError, ValueError), match="Invalid stream offset"):
            stores.events.read(PATH, offset=offset)

    def test_e21_a_gap_in_the_sequence_is_tolerated(self, stores: Stores) -> None:
        stores.events.create(PATH)
        for number in range(3):
            stores.events.append(PATH, number)
        stores.rows.delete("flue_event_stream_entries", path=PATH, seq=1)
        assert stored(stores) == [0, 2]

    def test_e22_one_notification_per_append_and_per_close(self, stores: Stores) -> None:
        stores.events.create(PATH)
        heard: list[int] = []
        unsubscribe = stores.events.subscribe(PATH, lambda: heard.append(1))
        stores.events.append(PATH, 1)
        assert len(heard) == 1
        stores.events.append_once(PATH, "key-1", 1)
        assert len(heard) == 2
        stores.events.close(PATH)
        assert len(heard) == 3
        unsubscribe()
        stores.events.create("runs/run_2")
        stores.events.append("runs/run_2", 1)
        assert len(heard) == 3


class EventContract(EventStreamContract, KeyedEventContract, EventReadContract):
    """Every behaviour of an event stream store."""
