"""Reading, subscriptions and checkpoints: items 20, 21 and X9 of the conversation contract."""

from __future__ import annotations

import pytest

from flue_sqla.errors import FlueError
from flue_sqla.records import FoldCheckpoint
from flue_sqla.testing.contracts.conversations.examples import PATH, append, created, message, rejected
from flue_sqla.testing.contracts.conversations.producers import OFFSETS
from flue_sqla.testing.stores import Stores


class ReadContract:
    """X9: offsets and limits (spec/streams.md §1.1 and §3.5)."""

    def test_x09_an_unknown_path_is_an_empty_stream(self, stores: Stores) -> None:
        assert stores.conversations.read(PATH).to_wire() == {"batches": [], "nextOffset": "-1", "upToDate": True}
        assert stores.conversations.get_meta(PATH) is None

    def test_x09_an_empty_stream(self, stores: Stores) -> None:
        created(stores)
        for offset in ("-1", "now"):
            assert stores.conversations.read(PATH, offset=offset).to_wire() == {"batches": [], "nextOffset": "-1", "upToDate": True}

    def test_x09_now_is_the_head_without_batches(self, stores: Stores) -> None:
        head = append(stores, created(stores), [message()])
        assert stores.conversations.read(PATH, offset="now").to_wire() == {"batches": [], "nextOffset": head, "upToDate": True}

    def test_x09_the_head_is_a_legal_empty_read_and_beyond_it_is_an_error(self, stores: Stores) -> None:
        head = append(stores, created(stores), [message()])
        assert stores.conversations.read(PATH, offset=head).batches == []
        for beyond in (OFFSETS[1], "0_9007199254740993"):
            with rejected("Read offset is beyond the canonical stream head.", operation="read"):
                stores.conversations.read(PATH, offset=beyond)

    @pytest.mark.parametrize("offset", ["", "0", "abc", "1_", "_1", "0_-1", "-2", "0_1_2", " 0_1", "0_1x"])
    def test_x09_a_malformed_offset_is_a_plain_error(self, stores: Stores, offset: str) -> None:
        created(stores)
        with pytest.raises((FlueError, ValueError), match="Invalid stream offset"):
            stores.conversations.read(PATH, offset=offset)

    def test_x09_offsets_need_no_padding_and_are_returned_padded(self, stores: Stores) -> None:
        append(stores, created(stores), [message()])
        assert stores.conversations.read(PATH, offset="7_0").next_offset == OFFSETS[0]

    @pytest.mark.parametrize(("limit", "returned"), [(1, 1), (2, 2), (3, 3), (4, 3), (0, 3), (-1, 3), (None, 3)])
    def test_x09_limits_and_up_to_date(self, stores: Stores, limit: int | None, returned: int) -> None:
        claim = created(stores)
        for number in range(3):
            append(stores, claim, [message(number)], sequence=number)
        page = stores.conversations.read(PATH, limit=limit)
        assert [batch.offset for batch in page.batches] == OFFSETS[:returned]
        assert page.next_offset == OFFSETS[returned - 1]
        assert page.up_to_date is (returned == 3)

    def test_x09_the_default_is_a_hundred_and_the_maximum_a_thousand(self, stores: Stores) -> None:
        claim = created(stores)
        append(stores, claim, [message()])
        (row,) = stores.rows.select("flue_conversation_stream_batches")
        for number in range(1, 1_002):
            stores.rows.insert("flue_conversation_stream_batches", **{**row, "seq": number, "producer_sequence": number})
        stores.rows.update("flue_conversation_streams", {"path": PATH}, next_offset=1_002, next_producer_sequence=1_002)
        for limit, returned in ((None, 100), (0, 100), (1_000, 1_000), (1_001, 1_000), (5_000, 1_000)):
            page = stores.conversations.read(PATH, limit=limit)
            assert (len(page.batches), page.up_to_date, page.next_offset) == (returned, False, OFFSETS[returned - 1])


class SubscriptionContract:
    """spec/streams.md §3.7: one notification per append, before the append returns."""

    def test_c22_a_listener_runs_before_the_append_returns(self, stores: Stores) -> None:
        claim = created(stores)
        heard: list[str] = []
        unsubscribe = stores.conversations.subscribe(PATH, lambda: heard.append("a"))
        stores.conversations.subscribe(PATH, lambda: heard.append("b"))
        stores.conversations.subscribe("agents/echo/other", lambda: heard.append("other"))
        append(stores, claim, [message(1)])
        assert sorted(heard) == ["a", "b"]
        append(stores, claim, [message(1)])
        assert sorted(heard) == ["a", "b"], "a retry writes nothing and notifies nobody"
        unsubscribe()
        append(stores, claim, [message(2)], sequence=1)
        assert sorted(heard) == ["a", "b", "b"]

    def test_c22b_a_failing_listener_harms_neither_the_append_nor_the_others(self, stores: Stores) -> None:
        claim = created(stores)
        heard: list[str] = []

        def fail() -> None:
            raise RuntimeError("a listener's own problem")

        stores.conversations.subscribe(PATH, fail)
        stores.conversations.subscribe(PATH, lambda: heard.append("heard"))
        assert append(stores, claim, [message()]) == OFFSETS[0]
        assert heard == ["heard"]

    def test_c22c_a_rejected_append_notifies_nobody(self, stores: Stores) -> None:
        claim = created(stores)
        heard: list[str] = []
        stores.conversations.subscribe(PATH, lambda: heard.append("heard"))
        with rejected():
            append(stores, claim, [message()], sequence=5)
        assert heard == []


class CheckpointContract:
    """spec/streams.md §3.8: a single unfenced slot per path."""

    def test_c20_the_second_checkpoint_replaces_the_first(self, stores: Stores) -> None:
        created(stores)
        first = FoldCheckpoint(offset=OFFSETS[0], incarnation="inc_1", format_version=2, data="first")
        second = FoldCheckpoint(offset=OFFSETS[3], incarnation="inc_2", format_version=3, data='{"state":"é"}')
        stores.conversations.put_checkpoint(PATH, first)
        stores.conversations.put_checkpoint(PATH, second)
        found = stores.conversations.get_checkpoint(PATH)
        assert found is not None
        assert found.to_wire() == {"offset": OFFSETS[3], "incarnation": "inc_2", "formatVersion": 3, "data": '{"state":"é"}'}
        assert stores.conversations.get_checkpoint("agents/echo/unknown") is None

    def test_c21_a_checkpoint_after_the_wanted_offset_is_not_returned(self, stores: Stores) -> None:
        checkpoint = FoldCheckpoint(offset=OFFSETS[3], incarnation="inc_1", format_version=2, data="{}")
        stores.conversations.put_checkpoint(PATH, checkpoint)
        assert stores.conversations.get_checkpoint(PATH, at_or_before=OFFSETS[2]) is None
        assert stores.conversations.get_checkpoint(PATH, at_or_before=OFFSETS[3]) == checkpoint
        # Numerically, not as text.
        assert stores.conversations.get_checkpoint(PATH, at_or_before="0_10") == checkpoint
        assert stores.conversations.get_checkpoint(PATH, at_or_before="-1") is None

    def test_c21b_a_large_checkpoint_round_trips_and_is_replaced_by_a_small_one(self, stores: Stores) -> None:
        large = FoldCheckpoint(offset=OFFSETS[0], incarnation="inc_1", format_version=2, data="é" * 1_500_000)
        small = large.model_copy(update={"data": "{}"})
        for checkpoint in (large, small, large):
            stores.conversations.put_checkpoint(PATH, checkpoint)
            assert stores.conversations.get_checkpoint(PATH) == checkpoint
