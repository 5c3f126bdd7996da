"""X12: the overflow of large batches and checkpoints in the sqlite profile (spec/streams.md §3.6)."""

from __future__ import annotations

from typing import Any

import pytest

from flue_sqla.records import FoldCheckpoint
from flue_sqla.testing.contracts.conversations.examples import PATH, append, created, message, rejected, stored_batches
from flue_sqla.testing.contracts.conversations.producers import OFFSETS
from flue_sqla.testing.stores import Stores
from flue_sqla.wire import canonical_json, utf16_length

THRESHOLD = 1_048_576
PART = 524_288
BATCHES = "flue_conversation_stream_batches"
CHUNKS = "flue_conversation_stream_batch_chunks"


def sized(units: int) -> list[dict[str, Any]]:
    """One record whose batch text is exactly ``units`` UTF-16 units long."""
    padding = units - utf16_length(canonical_json([message(1, "")]))
    return [message(1, "x" * padding)]


class SpillContract:
    """Only where the profile is ``sqlite``; elsewhere these tests are skipped."""

    @pytest.fixture(autouse=True)
    def _only_on_sqlite(self, stores: Stores) -> None:
        if stores.profile != "sqlite":
            pytest.skip("only the sqlite profile spills large texts")

    def test_x12_exactly_the_threshold_stays_inline(self, stores: Stores) -> None:
        append(stores, created(stores), sized(THRESHOLD))
        assert stores.rows.select(CHUNKS) == []
        assert stored_batches(stores) == [sized(THRESHOLD)]

    def test_x12_one_unit_more_spills(self, stores: Stores) -> None:
        append(stores, created(stores), sized(THRESHOLD + 1))
        (batch,) = stores.rows.select(BATCHES)
        assert batch["data"] == '{"$flueChunkCount":3}'
        parts = {row["chunk_index"]: (row["chunk_count"], len(row["data"])) for row in stores.rows.select(CHUNKS)}
        assert parts == {0: (3, PART), 1: (3, PART), 2: (3, 1)}
        assert stored_batches(stores) == [sized(THRESHOLD + 1)]

    @pytest.mark.parametrize("shift", [0, 1])
    def test_x12_a_surrogate_pair_is_not_cut(self, stores: Stores, shift: int) -> None:
        prefix = utf16_length(canonical_json([message(1, "")])) - len('"}]}]') - shift
        records = [message(1, "x" * ((PART - prefix) % 2) + "\U0001f916" * 700_000)]
        append(stores, created(stores), records)
        parts = [row["data"] for row in sorted(stores.rows.select(CHUNKS), key=lambda row: row["chunk_index"])]
        assert "".join(parts) == canonical_json(records)
        assert {utf16_length(part) for part in parts[:-1]} <= {PART, PART + 1}
        assert stored_batches(stores) == [records]

    @pytest.mark.parametrize(
        ("sentinel", "reason"),
        [
            ('{"$flueChunkCount":0}', "Spilled batch sentinel is malformed."),
            ('{"$flueChunkCount":"3"}', "Spilled batch sentinel is malformed."),
            ('{"$flueChunkCount":1.5}', "Spilled batch sentinel is malformed."),
            ("{}", "Spilled batch sentinel is malformed."),
            ('{"$flueChunkCount":4}', "Spilled batch chunk rows do not match the recorded count."),
        ],
    )
    def test_x12_a_wrong_sentinel_is_detected(self, stores: Stores, sentinel: str, reason: str) -> None:
        append(stores, created(stores), sized(THRESHOLD + 1))
        stores.rows.update(BATCHES, {"path": PATH}, data=sentinel)
        with rejected(reason, operation="read"):
            stores.conversations.read(PATH)

    def test_x12_missing_and_misnumbered_chunks_are_detected(self, stores: Stores) -> None:
        append(stores, created(stores), sized(THRESHOLD + 1))
        stores.rows.update(CHUNKS, {"path": PATH, "chunk_index": 1}, chunk_index=7)
        with rejected("Spilled batch chunk rows are not contiguous.", operation="read"):
            stores.conversations.read(PATH)
        stores.rows.update(CHUNKS, {"path": PATH, "chunk_index": 7}, chunk_index=1, chunk_count=2)
        with rejected("Spilled batch chunk rows are not contiguous.", operation="read"):
            stores.conversations.read(PATH)
        stores.rows.delete(CHUNKS, path=PATH, chunk_index=1)
        with rejected("Spilled batch chunk rows do not match the recorded count.", operation="read"):
            stores.conversations.read(PATH)

    def test_x12_a_large_checkpoint_spills_and_is_checked(self, stores: Stores) -> None:
        slot, chunks = "flue_conversation_fold_checkpoints", "flue_conversation_fold_checkpoint_chunks"
        checkpoint = FoldCheckpoint(offset=OFFSETS[0], incarnation="inc_1", format_version=2, data="x" * (THRESHOLD + 1))
        stores.conversations.put_checkpoint(PATH, checkpoint)
        (row,) = stores.rows.select(slot)
        assert (row["data"], row["chunk_count"]) == (None, 3)
        stores.rows.update(chunks, {"path": PATH, "chunk_index": 2}, chunk_index=3)
        with rejected("Checkpoint chunk rows are not contiguous.", operation="get_fold_checkpoint"):
            stores.conversations.get_checkpoint(PATH)
        stores.rows.delete(chunks, path=PATH, chunk_index=3)
        with rejected("Checkpoint chunk rows do not match the recorded count.", operation="get_fold_checkpoint"):
            stores.conversations.get_checkpoint(PATH)
        stores.rows.update(slot, {"path": PATH}, chunk_count=None)
        with rejected("Checkpoint row has neither data nor chunks.", operation="get_fold_checkpoint"):
            stores.conversations.get_checkpoint(PATH)
