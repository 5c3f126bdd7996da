"""Creation, producers and batches: items 1 to 11, 19, X8 to X10 of the conversation contract."""

from __future__ import annotations

from functools import partial

import pytest

from flue_sqla.errors import ConversationStreamStoreError
from flue_sqla.records import Attempt, ProducerClaim
from flue_sqla.testing.contracts.conversations.examples import (
    AGENT,
    INSTANCE,
    PATH,
    append,
    created,
    message,
    rejected,
    stored_batches,
)
from flue_sqla.testing.stores import Stores

OFFSETS = [f"{0:016d}_{number:016d}" for number in range(2_000)]
OVERSIZED = "x" * 2_500_000


class CreationContract:
    """spec/streams.md §3.1 and §3.2."""

    def test_c01_concurrent_creators_with_one_identity_both_succeed(self, stores: Stores) -> None:
        create = partial(stores.conversations.create, PATH, AGENT, INSTANCE)
        assert [outcome.raised for outcome in stores.concurrently(create, create)] == [False, False]
        meta = stores.conversations.get_meta(PATH)
        assert meta is not None
        assert meta.identity.to_wire() == {"agentName": AGENT, "instanceId": INSTANCE}

    def test_c02_of_two_identities_one_wins(self, stores: Stores) -> None:
        outcomes = stores.concurrently(
            partial(stores.conversations.create, PATH, AGENT, INSTANCE),
            partial(stores.conversations.create, PATH, "other", INSTANCE),
        )
        assert sorted(outcome.raised for outcome in outcomes) == [False, True]
        meta = stores.conversations.get_meta(PATH)
        assert meta is not None
        assert meta.identity.agent_name == ("echo" if outcomes[1].raised else "other")

    def test_c02b_creation_is_idempotent_and_keeps_the_incarnation(self, stores: Stores) -> None:
        claim = created(stores)
        append(stores, claim, [message()])
        before = stores.conversations.get_meta(PATH)
        stores.conversations.create(PATH, AGENT, INSTANCE)
        assert stores.conversations.get_meta(PATH) == before

    def test_c02c_a_fresh_stream_has_no_producer_and_an_empty_head(self, stores: Stores) -> None:
        assert stores.conversations.get_meta(PATH) is None
        stores.conversations.create(PATH, AGENT, INSTANCE)
        meta = stores.conversations.get_meta(PATH)
        assert meta is not None
        wire = meta.to_wire()
        assert wire.pop("incarnation").startswith("inc_")
        assert wire == {
            "identity": {"agentName": AGENT, "instanceId": INSTANCE},
            "nextOffset": "-1",
            "producerId": None,
            "producerEpoch": 0,
            "nextProducerSequence": 0,
        }

    def test_c11b_acquiring_again_bumps_the_epoch_even_for_the_same_producer(self, stores: Stores) -> None:
        first = created(stores)
        assert (first.producer_epoch, first.next_producer_sequence, first.offset) == (1, 0, "-1")
        append(stores, first, [message()])
        second = stores.conversations.acquire_producer(PATH, "producer-1")
        assert second.to_wire() == {
            "producerId": "producer-1",
            "producerEpoch": 2,
            "incarnation": first.incarnation,
            "nextProducerSequence": 0,
            "offset": OFFSETS[0],
        }

    def test_c11c_acquiring_a_missing_stream_is_an_error(self, stores: Stores) -> None:
        with rejected("Stream does not exist.", operation="acquire_producer"):
            stores.conversations.acquire_producer(PATH, "producer-1")

    def test_c11d_concurrent_acquirers_get_different_epochs(self, stores: Stores) -> None:
        created(stores)
        claims = stores.concurrently(*(partial(stores.conversations.acquire_producer, PATH, f"p-{n}") for n in range(4)))
        assert sorted(claim.unwrap().producer_epoch for claim in claims) == [2, 3, 4, 5]

    def test_x10_identity_is_stored_as_one_exact_text(self, stores: Stores) -> None:
        stores.conversations.create('agents/Zoë/a"b', "Zoë", 'a"b')
        (row,) = stores.rows.select("flue_conversation_streams")
        assert row["identity_json"] == '{"agentName":"Zoë","instanceId":"a\\"b"}'

    def test_x10_a_foreign_key_order_is_a_conflict(self, stores: Stores) -> None:
        stores.conversations.create(PATH, AGENT, INSTANCE)
        foreign = '{"instanceId":"contract","agentName":"echo"}'
        stores.rows.update("flue_conversation_streams", {"path": PATH}, identity_json=foreign)
        with rejected("Stream identity conflicts.", operation="create"):
            stores.conversations.create(PATH, AGENT, INSTANCE)


class BatchContract:
    """spec/streams.md §3.3 and §3.5: batches are indivisible, retries are recognised, old producers are fenced."""

    def test_c03_a_batch_of_two_records_is_read_as_one(self, stores: Stores) -> None:
        offset = append(stores, created(stores), [message(1), message(2)])
        assert offset == OFFSETS[0]
        page = stores.conversations.read(PATH)
        assert page.to_wire() == {
            "batches": [{"offset": offset, "records": [message(1), message(2)]}],
            "nextOffset": offset,
            "upToDate": True,
        }

    def test_c04_reading_after_a_batch_never_splits_it(self, stores: Stores) -> None:
        offset = append(stores, created(stores), [message(1), message(2)])
        page = stores.conversations.read(PATH, offset=offset)
        assert (page.batches, page.up_to_date, page.next_offset) == ([], True, offset)

    def test_c05_an_identical_append_is_a_retry(self, stores: Stores) -> None:
        claim = created(stores)
        first = append(stores, claim, [message()])
        assert append(stores, claim, [message()]) == first
        assert stored_batches(stores) == [[message()]]

    def test_c06_after_reacquiring_even_an_exact_retry_is_stale(self, stores: Stores) -> None:
        claim = created(stores)
        append(stores, claim, [message()])
        stores.conversations.acquire_producer(PATH, "producer-1")
        with rejected("Producer ownership is stale."):
            append(stores, claim, [message()])
        assert len(stored_batches(stores)) == 1

    def test_c07_a_used_sequence_with_other_records_is_a_conflict(self, stores: Stores) -> None:
        claim = created(stores)
        first = append(stores, claim, [message()])
        with rejected("Producer sequence has conflicting content."):
            append(stores, claim, [message(text="Goodbye")])
        meta = stores.conversations.get_meta(PATH)
        assert meta is not None
        assert (meta.next_offset, meta.next_producer_sequence) == (first, 1)

    def test_c08_a_large_record_round_trips_between_others(self, stores: Stores) -> None:
        claim = created(stores)
        first = append(stores, claim, [message(1, OVERSIZED)])
        append(stores, claim, [message(2)], sequence=1)
        assert stored_batches(stores) == [[message(1, OVERSIZED)], [message(2)]]
        page = stores.conversations.read(PATH, offset=first)
        assert [batch.records for batch in page.batches] == [[message(2)]]

    def test_c09_a_large_retry_is_recognised(self, stores: Stores) -> None:
        claim = created(stores)
        first = append(stores, claim, [message(1, OVERSIZED)])
        assert append(stores, claim, [message(1, OVERSIZED)]) == first
        assert len(stored_batches(stores)) == 1

    def test_c10_a_large_retry_that_differs_in_its_last_character_is_a_conflict(self, stores: Stores) -> None:
        claim = created(stores)
        first = append(stores, claim, [message(1, OVERSIZED)])
        with rejected("Producer sequence has conflicting content."):
            append(stores, claim, [message(1, OVERSIZED[:-1] + "y")])
        meta = stores.conversations.get_meta(PATH)
        assert meta is not None
        assert (meta.next_offset, meta.next_producer_sequence) == (first, 1)

    def test_c11_a_replaced_producer_cannot_append(self, stores: Stores) -> None:
        old = created(stores)
        new = stores.conversations.acquire_producer(PATH, "producer-2")
        with rejected("Producer ownership is stale."):
            append(stores, old, [message()])
        assert append(stores, new, [message()]) == OFFSETS[0]

    def test_c19_reading_goes_on_after_an_offset(self, stores: Stores) -> None:
        claim = created(stores)
        first = append(stores, claim, [message(1)])
        second = append(stores, claim, [message(2)], sequence=1)
        page = stores.conversations.read(PATH, offset=first)
        assert [(batch.offset, batch.records) for batch in page.batches] == [(second, [message(2)])]

    def test_c19b_records_are_preserved_verbatim(self, stores: Stores) -> None:
        odd = {"z": None, "a": [1.5, True, {"é": "\u2028\x7f\t"}], "type": "from_the_future", "text": "\U0001f916 \u0001", "2": 2, "10": 10}
        append(stores, created(stores), [odd])
        ((read,),) = stored_batches(stores)
        assert read == odd
        assert list(read) == ["2", "10", "z", "a", "type", "text"]


class AppendCheckContract:
    """X8: the order of the checks of append, and the reason of each (spec/streams.md §3.3)."""

    def test_x08_an_empty_batch_is_refused_first(self, stores: Stores) -> None:
        claim = _nobody()
        with rejected("A canonical batch cannot be empty."):
            append(stores, claim, [])

    def test_x08_a_batch_above_twelve_mebibytes_names_its_largest_record(self, stores: Stores) -> None:
        with pytest.raises(ConversationStreamStoreError) as caught:
            append(stores, _nobody(), [message(1), message(2, "x" * (12 * 1024 * 1024))])
        reason = caught.value.meta["reason"]
        assert "The batch serializes to ~12.0MB, above the 12MB per-append ceiling." in reason
        assert 'The largest record is a "user_message" record (id "record_2") at ~12.0MB.' in reason

    def test_x08_a_missing_stream(self, stores: Stores) -> None:
        with rejected("Stream does not exist."):
            append(stores, _nobody(), [message()])

    @pytest.mark.parametrize("field", ["producer_id", "producer_epoch", "incarnation"])
    def test_x08_every_part_of_the_claim_is_checked(self, stores: Stores, field: str) -> None:
        claim = created(stores)
        wrong = claim.model_copy(update={field: 0 if field == "producer_epoch" else "wrong"})
        with rejected("Producer ownership is stale."):
            append(stores, wrong, [message()], sequence=99)

    def test_x08_a_retry_is_found_before_the_sequence_is_checked(self, stores: Stores) -> None:
        claim = created(stores)
        first = append(stores, claim, [message(1)])
        append(stores, claim, [message(2)], sequence=1)
        assert append(stores, claim, [message(1)]) == first

    @pytest.mark.parametrize("sequence", [1, 7, -1])
    def test_x08_a_sequence_that_is_not_the_next_one(self, stores: Stores, sequence: int) -> None:
        claim = created(stores)
        with rejected("Producer sequence is not the next expected value."):
            append(stores, claim, [message()], sequence=sequence)

    def test_x08_the_sequence_is_checked_before_the_authorization(self, stores: Stores) -> None:
        claim = created(stores)
        nobody = Attempt(submission_id="nobody", attempt_id="attempt-1")
        with rejected("Producer sequence is not the next expected value."):
            append(stores, claim, [message()], sequence=1, submission=nobody)
        with rejected("Submission attempt no longer owns work for this agent instance."):
            append(stores, claim, [message()], submission=nobody)

    def test_x08_a_rejected_append_leaves_the_sequence_free(self, stores: Stores) -> None:
        claim = created(stores)
        with rejected():
            append(stores, claim, [message(1, submissionId="nobody")])
        assert append(stores, claim, [message(1)]) == OFFSETS[0]

    def test_x08_of_concurrent_appends_under_one_sequence_one_is_stored(self, stores: Stores) -> None:
        claim = created(stores)
        outcomes = stores.concurrently(*(partial(append, stores, claim, [message(n)]) for n in range(4)))
        assert sorted(outcome.raised for outcome in outcomes) == [False, True, True, True]
        assert len(stored_batches(stores)) == 1

    def test_x08_concurrent_exact_retries_all_get_the_one_offset(self, stores: Stores) -> None:
        claim = created(stores)
        outcomes = stores.concurrently(*[partial(append, stores, claim, [message()])] * 4)
        assert {outcome.unwrap() for outcome in outcomes} == {OFFSETS[0]}
        assert len(stored_batches(stores)) == 1

    def test_x08_of_two_racing_producers_one_is_fenced(self, stores: Stores) -> None:
        for round_ in range(5):
            old = created(stores, "old")
            head = len(stored_batches(stores))
            granted: list[ProducerClaim] = []

            def take_over(granted: list[ProducerClaim] = granted) -> str:
                granted.append(stores.conversations.acquire_producer(PATH, "new"))
                return granted[0].offset

            appended, acquired = stores.concurrently(partial(append, stores, old, [message(round_)]), take_over)
            acquired.unwrap()
            stored = len(stored_batches(stores)) - head
            assert stored == (0 if appended.raised else 1)
            with rejected("Producer ownership is stale."):
                append(stores, old, [message(99)], sequence=stored)
            assert append(stores, granted[0], [message(100 + round_)]) == OFFSETS[head + stored]


def _nobody() -> ProducerClaim:
    return ProducerClaim(producer_id="nobody", producer_epoch=1, incarnation="inc_none", next_producer_sequence=0, offset="-1")
