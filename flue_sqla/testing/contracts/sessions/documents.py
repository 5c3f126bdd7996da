"""Whole session documents: spec/submissions.md §17."""

from __future__ import annotations

import pytest

from flue_sqla.errors import FlueError
from flue_sqla.testing.contracts.sessions.examples import KEY, compaction, document, entry, picture
from flue_sqla.testing.stores import Stores


class SessionDocumentContract:
    """spec/submissions.md §17: what was saved is what is loaded."""

    def test_d01_an_unknown_session_is_none(self, stores: Stores) -> None:
        assert stores.sessions.load(KEY) is None
        stores.sessions.delete(KEY)

    def test_d02_a_document_round_trips(self, stores: Stores) -> None:
        data = document(entry(0), entry(1, [{"type": "text", "text": "Hi"}], role="assistant"), compaction(2, "entry_1"))
        stores.sessions.save(KEY, data)
        assert stores.sessions.load(KEY) == data

    def test_d03_an_empty_session(self, stores: Stores) -> None:
        stores.sessions.save(KEY, document())
        assert stores.sessions.load(KEY) == document()

    def test_d04_entries_are_rows_and_the_rest_is_one_document(self, stores: Stores) -> None:
        stores.sessions.save(KEY, document(entry(0), entry(1)))
        (session,) = stores.rows.select("flue_sessions")
        assert '"entries"' not in session["data"]
        assert session["data"].startswith('{"version":8,"conversationId":"conv_1"')
        rows = {row["entry_id"]: row["position"] for row in stores.rows.select("flue_session_entries")}
        assert rows == {"entry_0": 0, "entry_1": 1}

    @pytest.mark.parametrize("role", ["user", "toolResult"])
    def test_d05_images_are_stored_apart_and_come_back(self, stores: Stores, role: str) -> None:
        data = document(entry(0, picture("A" * (256 * 1024 + 1)) + picture("B"), role=role))
        stores.sessions.save(KEY, data)
        assert stores.sessions.load(KEY) == data
        chunks = {
            (row["owner_kind"], row["owner_id"], row["owner_part"], row["image_id"], row["chunk_index"], row["chunk_count"])
            for row in stores.rows.select("flue_image_chunks")
        }
        assert chunks == {("session_entry", KEY, "entry_0", *rest) for rest in (("0", 0, 2), ("0", 1, 2), ("1", 0, 1))}
        (row,) = stores.rows.select("flue_session_entries")
        assert "__flue_image_chunks__:0" in row["data"]
        assert "AAAA" not in row["data"]

    def test_d06_images_of_other_roles_stay_inline(self, stores: Stores) -> None:
        data = document(entry(0, picture("AAAA"), role="assistant"))
        stores.sessions.save(KEY, data)
        assert stores.sessions.load(KEY) == data
        assert stores.rows.select("flue_image_chunks") == []

    def test_d07_an_image_of_two_mebibytes_and_one_character(self, stores: Stores) -> None:
        data = document(entry(0, picture("A" * (2 * 1024 * 1024 + 1))))
        stores.sessions.save(KEY, data)
        assert stores.sessions.load(KEY) == data

    def test_d08_saving_again_changes_adds_and_removes(self, stores: Stores) -> None:
        stores.sessions.save(KEY, document(entry(0), entry(1, picture("AAAA")), entry(2)))
        data = document(entry(2), entry(0, "changed"), entry(3, picture("BBBB")), metadata={})
        stores.sessions.save(KEY, data)
        assert stores.sessions.load(KEY) == data
        assert {row["entry_id"] for row in stores.rows.select("flue_session_entries")} == {"entry_0", "entry_2", "entry_3"}
        assert [(row["owner_part"], row["data"]) for row in stores.rows.select("flue_image_chunks")] == [("entry_3", "BBBB")]

    def test_d09_an_image_can_be_replaced_and_shrunk(self, stores: Stores) -> None:
        for pictures in (picture("A" * (600 * 1024)), picture("B" * (300 * 1024)), picture("C"), [{"type": "text", "text": "none"}]):
            stores.sessions.save(KEY, document(entry(0, pictures)))
            assert stores.sessions.load(KEY) == document(entry(0, pictures))
        assert stores.rows.select("flue_image_chunks") == []

    def test_d10_delete_removes_the_session_only(self, stores: Stores) -> None:
        other = KEY.replace("agent-1", "agent-2")
        for key in (KEY, other):
            stores.sessions.save(key, document(entry(0, picture("AAAA"))))
        stores.sessions.delete(KEY)
        assert stores.sessions.load(KEY) is None
        assert stores.sessions.load(other) == document(entry(0, picture("AAAA")))
        assert len(stores.rows.select("flue_image_chunks")) == len(stores.rows.select("flue_session_entries")) == 1

    def test_d11_malformed_rows_are_errors(self, stores: Stores) -> None:
        stores.sessions.save(KEY, document(entry(0)))
        stores.rows.update("flue_session_entries", {"session_id": KEY}, data="[]")
        with pytest.raises(FlueError, match=r"Persisted session entry row is malformed\."):
            stores.sessions.load(KEY)
        stores.rows.update("flue_sessions", {"id": KEY}, data="[]")
        with pytest.raises(FlueError, match=r"Persisted session row is malformed\."):
            stores.sessions.load(KEY)

    def test_d12_damaged_images_are_errors(self, stores: Stores) -> None:
        stores.sessions.save(KEY, document(entry(0, picture("A" * (256 * 1024 + 1)))))
        stores.rows.delete("flue_image_chunks", chunk_index=1)
        with pytest.raises(FlueError, match=r"Persisted image chunks are missing or malformed\."):
            stores.sessions.load(KEY)
