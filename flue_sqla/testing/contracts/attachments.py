"""The attachment contract: spec/conformance.md §3 and X13."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from flue_sqla.errors import AttachmentConflictError, AttachmentIntegrityError
from flue_sqla.records import AttachmentRef
from flue_sqla.testing.stores import Stores

__all__ = ["AttachmentContract"]

PATH = "agents/echo/contract"
CONVERSATION = "conv_contract"
CHUNK = 524_288


def put(
    stores: Stores,
    data: bytes = b"\x00\x01\x02\xff",
    *,
    id: str = "att_1",
    path: str = PATH,
    conversation: str = CONVERSATION,
    ref: AttachmentRef | None = None,
) -> AttachmentRef:
    reference = AttachmentRef.of(id, "image/png", data) if ref is None else ref
    stores.attachments.put(path, reference, data, conversation)
    return reference


class PutGetContract:
    """Immutable bytes under an id that is unique per stream path."""

    def test_a01_what_was_put_is_got(self, stores: Stores) -> None:
        ref = put(stores)
        found = stores.attachments.get(PATH, "att_1", CONVERSATION)
        assert found is not None
        assert (found.ref, found.data) == (ref, b"\x00\x01\x02\xff")
        assert found.ref.to_wire() == {
            "id": "att_1",
            "mimeType": "image/png",
            "size": 4,
            "digest": "3d1f57c984978ef98a18378c8166c1cb8ede02c03eeb6aee7e2f121dfeee3e56",
        }

    @pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
    def test_a02_bytes_around_a_chunk_boundary_round_trip(self, stores: Stores, size: int) -> None:
        data = bytes(range(256)) * (size // 256) + b"\x07" * (size % 256)
        ref = put(stores, data)
        found = stores.attachments.get(PATH, "att_1", CONVERSATION)
        assert found is not None
        assert found.data == data
        assert found.ref == ref

    def test_a03_repeating_the_same_put_succeeds(self, stores: Stores) -> None:
        put(stores)
        before = stores.rows.select("flue_attachments")
        stores.clock.advance(1_000)
        put(stores)
        assert stores.rows.select("flue_attachments") == before

    def test_a04_concurrent_identical_puts_succeed(self, stores: Stores) -> None:
        outcomes = stores.concurrently(*[partial(put, stores, b"x" * (CHUNK + 1))] * 2)
        assert [outcome.raised for outcome in outcomes] == [False, False]
        assert len(stores.rows.select("flue_attachments")) == 1

    def test_a05_the_same_id_with_other_bytes_is_a_conflict(self, stores: Stores) -> None:
        put(stores, b"one")
        with pytest.raises(AttachmentConflictError) as caught:
            put(stores, b"two")
        assert caught.value.code == "attachment_conflict"
        assert caught.value.meta == {"path": PATH, "attachmentId": "att_1"}
        assert "The attachment identity conflicts with persisted attachment data." in str(caught.value)
        found = stores.attachments.get(PATH, "att_1", CONVERSATION)
        assert found is not None
        assert found.data == b"one"

    def test_a05b_of_two_concurrent_different_puts_one_is_a_conflict(self, stores: Stores) -> None:
        one, two = stores.concurrently(partial(put, stores, b"one"), partial(put, stores, b"two"))
        assert one.raised != two.raised
        assert isinstance(one.error or two.error, AttachmentConflictError)
        found = stores.attachments.get(PATH, "att_1", CONVERSATION)
        assert found is not None
        assert found.data == (b"two" if one.raised else b"one")

    def test_a06_another_conversation_is_a_conflict(self, stores: Stores) -> None:
        put(stores)
        with pytest.raises(AttachmentConflictError):
            put(stores, conversation="conv_other")

    def test_a06b_another_mime_type_is_a_conflict_and_another_filename_is_not(self, stores: Stores) -> None:
        put(stores)
        with pytest.raises(AttachmentConflictError):
            put(stores, ref=AttachmentRef.of("att_1", "image/jpeg", b"\x00\x01\x02\xff"))
        put(stores, ref=AttachmentRef.of("att_1", "image/png", b"\x00\x01\x02\xff", "picture.png"))
        found = stores.attachments.get(PATH, "att_1", CONVERSATION)
        assert found is not None
        assert found.ref.filename is None

    def test_a06c_the_same_id_under_another_path_is_independent(self, stores: Stores) -> None:
        put(stores, b"one")
        put(stores, b"two", path="agents/echo/other")
        found = stores.attachments.get(PATH, "att_1", CONVERSATION)
        assert found is not None
        assert found.data == b"one"

    def test_a07_a_wrong_size_is_refused(self, stores: Stores) -> None:
        ref = AttachmentRef.of("att_1", "image/png", b"data").model_copy(update={"size": 5})
        with pytest.raises(AttachmentIntegrityError) as caught:
            put(stores, b"data", ref=ref)
        assert caught.value.code == "attachment_integrity"
        assert caught.value.meta == {"attachmentId": "att_1", "reason": "size"}
        assert stores.rows.select("flue_attachments") == []

    def test_a08_a_wrong_digest_is_refused(self, stores: Stores) -> None:
        ref = AttachmentRef.of("att_1", "image/png", b"data").model_copy(update={"digest": "0" * 64})
        with pytest.raises(AttachmentIntegrityError) as caught:
            put(stores, b"data", ref=ref)
        assert caught.value.meta["reason"] == "digest"

    def test_a09_another_conversation_sees_nothing(self, stores: Stores) -> None:
        put(stores)
        assert stores.attachments.get(PATH, "att_1", "conv_other") is None
        assert stores.attachments.get(PATH, "att_2", CONVERSATION) is None
        assert stores.attachments.get("agents/echo/other", "att_1", CONVERSATION) is None

    def test_a10_the_callers_and_the_stored_bytes_are_independent(self, stores: Stores) -> None:
        mine = bytearray(b"\x00\x01\x02\xff")
        ref = AttachmentRef.of("att_1", "image/png", bytes(mine))
        stores.attachments.put(PATH, ref, mine, CONVERSATION)  # type: ignore[arg-type]  # any bytes-like object will do
        mine[0] = 9
        first = stores.attachments.get(PATH, "att_1", CONVERSATION)
        assert first is not None
        assert first.data == b"\x00\x01\x02\xff"
        assert isinstance(first.data, bytes), "immutable, so no reader can change what another one reads"


class AttachmentDamageContract:
    """X13: empty files, order of the checks, and bytes that rotted in the database."""

    def test_x13_an_empty_attachment(self, stores: Stores) -> None:
        put(stores, b"")
        found = stores.attachments.get(PATH, "att_1", CONVERSATION)
        assert found is not None
        assert found.data == b""
        assert found.ref.size == 0

    def test_x13_size_is_checked_before_the_digest(self, stores: Stores) -> None:
        wrong = AttachmentRef.of("att_1", "image/png", b"data").model_copy(update={"size": 5, "digest": "0" * 64})
        with pytest.raises(AttachmentIntegrityError) as caught:
            put(stores, b"data", ref=wrong)
        assert caught.value.meta["reason"] == "size"

    @pytest.mark.parametrize(("column", "value", "reason"), [("byte_size", 5, "size"), ("digest", "0" * 64, "digest")])
    def test_x13_damaged_metadata_is_detected(self, stores: Stores, column: str, value: Any, reason: str) -> None:
        put(stores)
        stores.rows.update("flue_attachments", {"attachment_id": "att_1"}, **{column: value})
        assert damage(stores) == reason
        assert stores.attachments.get(PATH, "att_1", "conv_other") is None, "hidden, not disclosed by an error"

    @pytest.mark.parametrize(("stored", "reason"), [(b"\x00\x01\x02", "size"), (b"\x00\x01\x02\xfe", "digest")])
    def test_x13_damaged_bytes_are_detected(self, stores: Stores, stored: bytes, reason: str) -> None:
        put(stores)
        table = "flue_attachment_chunks" if stores.profile == "sqlite" else "flue_attachments"
        stores.rows.update(table, {"attachment_id": "att_1"}, bytes=stored)
        assert damage(stores) == reason

    @pytest.mark.parametrize("fault", ["count", "missing", "index", "empty", "oversized"])
    def test_x13_damaged_chunks_are_detected(self, stores: Stores, fault: str) -> None:
        if stores.profile != "sqlite":
            pytest.skip("only the sqlite profile cuts attachments into chunks")
        put(stores, b"x" * (2 * CHUNK))
        first = {"attachment_id": "att_1", "chunk_index": 0}
        chunks = "flue_attachment_chunks"
        if fault == "count":
            stores.rows.update("flue_attachments", {"attachment_id": "att_1"}, chunk_count=3)
        elif fault == "missing":
            stores.rows.delete(chunks, **first)
        elif fault == "index":
            stores.rows.update(chunks, first, chunk_index=5)
        elif fault == "empty":
            stores.rows.update(chunks, first, bytes=b"")
        else:
            stores.rows.update(chunks, first, bytes=b"x" * (CHUNK + 1))
        assert damage(stores) == "chunks"


def damage(stores: Stores) -> Any:
    """The reason with which reading ``att_1`` fails."""
    with pytest.raises(AttachmentIntegrityError) as caught:
        stores.attachments.get(PATH, "att_1", CONVERSATION)
    return caught.value.meta["reason"]


class AttachmentContract(PutGetContract, AttachmentDamageContract):
    """Every behaviour of an attachment store."""
