"""Admission and canonical readiness: items 1 to 10 of the submission contract, and X2."""

from __future__ import annotations

import json

import pytest

from flue_sqla.errors import FlueError
from flue_sqla.records import DirectInput, TraceCarrier
from flue_sqla.testing.contracts.examples import (
    SESSION,
    admitted,
    attempt,
    claimed,
    direct,
    dispatch,
    image,
    ready,
    running,
    signal,
    submission,
    user,
)
from flue_sqla.testing.stores import Stores

CHUNK = 256 * 1024


class AdmissionContract:
    """spec/submissions.md §7.1: one row per id, exact replay or conflict."""

    def test_s01_admitting_the_same_dispatch_twice_yields_equal_results(self, stores: Stores) -> None:
        first = stores.submissions.admit_dispatch(dispatch())
        second = stores.submissions.admit_dispatch(dispatch())
        assert second.to_wire() == first.to_wire()
        assert first.submission is not None
        assert first.submission.status == "queued"
        assert first.submission.session_key == SESSION

    def test_s02_the_same_id_with_another_body_is_a_conflict(self, stores: Stores) -> None:
        admitted(stores, dispatch())
        assert stores.submissions.admit_dispatch(dispatch(message=signal("Goodbye"))).to_wire() == {"kind": "conflict"}
        assert submission(stores).input["message"]["body"] == "Hello"

    def test_s03_a_dispatched_image_comes_back_unchanged(self, stores: Stores) -> None:
        message = user("Look", image(b"\x89PNG pixels"))
        assert admitted(stores, dispatch(message=message)).input["message"] == message
        assert submission(stores).input["message"] == message

    def test_s04_the_same_id_with_other_image_bytes_is_a_conflict(self, stores: Stores) -> None:
        admitted(stores, dispatch(message=user("Look", image(b"one"))))
        assert stores.submissions.admit_dispatch(dispatch(message=user("Look", image(b"two")))).kind == "conflict"

    def test_s05_an_image_just_over_one_chunk_is_returned_intact(self, stores: Stores) -> None:
        message = user("Look", image("A" * CHUNK + "B"))
        assert ready(stores, dispatch(message=message)).input["message"] == message
        assert submission(stores).input["message"] == message
        lengths = {row["chunk_index"]: len(row["data"]) for row in stores.rows.select("flue_submission_chunks")}
        assert lengths == {0: CHUNK, 1: 1}

    def test_s06_a_direct_input_with_an_image_comes_back_whole(self, stores: Stores) -> None:
        input = direct(message=user("Look", image(b"pixels")))
        expected = {
            "kind": "direct",
            "submissionId": "direct-1",
            "agent": "assistant",
            "id": "agent-1",
            "message": input.message,
            "acceptedAt": "2026-06-03T00:00:00.000Z",
        }
        assert stores.submissions.admit_direct(input).input == expected
        assert submission(stores, "direct-1").input == expected

    def test_s07_a_direct_id_with_other_image_bytes_is_refused(self, stores: Stores) -> None:
        admitted(stores, direct(message=user("Look", image(b"one"))))
        with pytest.raises(FlueError, match="unexpected result"):
            stores.submissions.admit_direct(direct(message=user("Look", image(b"two"))))


class ReadinessContract:
    """spec/submissions.md §7.2: nothing runs before its input is in the stream."""

    def test_s08_a_fresh_row_is_not_ready_and_cannot_be_claimed(self, stores: Stores) -> None:
        assert admitted(stores, dispatch()).to_wire()["canonicalReadyAt"] is None
        assert stores.submissions.list_runnable() == []
        assert claimed(stores, "dispatch-1") is None

    def test_s09_list_unready_skips_the_ready_one_in_the_middle(self, stores: Stores) -> None:
        admitted(stores, dispatch("unready-1"))
        ready(stores, dispatch("ready-1", id="agent-2"))
        admitted(stores, direct("unready-2", id="agent-3"))
        assert [found.submission_id for found in stores.submissions.list_unready()] == ["unready-1", "unready-2"]

    def test_s10_marking_ready_is_idempotent_and_survives_the_claim(self, stores: Stores) -> None:
        marked = ready(stores, dispatch())
        assert isinstance(marked.canonical_ready_at, int)
        stores.clock.advance(1_000)
        assert stores.submissions.mark_ready("dispatch-1") == marked
        assert stores.submissions.list_runnable() == [marked]
        taken = claimed(stores, "dispatch-1")
        assert taken is not None
        assert taken.canonical_ready_at == marked.canonical_ready_at

    def test_s10b_only_queued_rows_can_be_marked_ready(self, stores: Stores) -> None:
        running(stores, dispatch())
        assert stores.submissions.mark_ready("dispatch-1") is None
        assert stores.submissions.mark_ready("never-admitted") is None


class ReplayContract:
    """X2: what a repeated admission returns, and what it compares (spec/submissions.md §7.1 steps 5 to 7)."""

    def test_x02_a_replay_returns_the_current_row_not_the_first_one(self, stores: Stores) -> None:
        running(stores, dispatch())
        assert admitted(stores, dispatch()).status == "running"
        stores.submissions.complete(attempt())
        assert admitted(stores, dispatch()).status == "settled"

    def test_x02_a_row_stored_without_its_chunks_adopts_those_of_the_replay(self, stores: Stores) -> None:
        message = user("Look", image(b"pixels"))
        admitted(stores, dispatch(message=message))
        assert stores.rows.delete("flue_submission_chunks", submission_id="dispatch-1") == 1
        assert admitted(stores, dispatch(message=message)).input["message"] == message
        assert submission(stores).input["message"] == message

    def test_x02_an_image_stored_inline_equals_its_chunked_replay(self, stores: Stores) -> None:
        input = dispatch(message=user("Look", image(b"pixels")))
        admitted(stores, input)
        inline = json.dumps(input.to_payload(), separators=(",", ":"))
        stores.rows.update("flue_agent_submissions", {"submission_id": "dispatch-1"}, payload=inline)
        stores.rows.delete("flue_submission_chunks", submission_id="dispatch-1")
        # The stored payload holds no marker, so its images are compared as they stand; nothing is rewritten.
        assert stores.submissions.admit_dispatch(input).kind == "submission"
        assert stores.rows.select("flue_agent_submissions")[0]["payload"] == inline
        assert stores.rows.select("flue_submission_chunks") == []

    def test_x02_the_other_kind_under_the_same_id_is_a_conflict(self, stores: Stores) -> None:
        admitted(stores, dispatch("same", user()))
        with pytest.raises(FlueError, match="unexpected result"):
            stores.submissions.admit_direct(direct("same", user()))
        admitted(stores, direct("other", user()))
        assert stores.submissions.admit_dispatch(dispatch("other", user())).kind == "conflict"

    def test_x02_key_order_is_part_of_the_comparison(self, stores: Stores) -> None:
        admitted(stores, dispatch(message=signal(attributes={"a": "1", "b": "2"})))
        reordered = dispatch(message=signal(attributes={"b": "2", "a": "1"}))
        assert stores.submissions.admit_dispatch(reordered).kind == "conflict"

    def test_x02_accepted_at_and_trace_carrier_are_part_of_the_comparison(self, stores: Stores) -> None:
        admitted(stores, dispatch())
        assert stores.submissions.admit_dispatch(dispatch(accepted_at="2026-06-03T00:00:00.001Z")).kind == "conflict"
        carrier = TraceCarrier(traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        traced = DirectInput(**{**dict(direct()), "trace_carrier": carrier})
        assert stores.submissions.admit_direct(traced).input["traceCarrier"] == carrier.to_wire()
        with pytest.raises(FlueError, match="unexpected result"):
            stores.submissions.admit_direct(direct())

    def test_x02_initial_data_null_is_not_initial_data_absent(self, stores: Stores) -> None:
        assert "initialData" not in admitted(stores, dispatch("absent")).input
        assert admitted(stores, dispatch("null", initial_data=None)).input["initialData"] is None
        assert stores.submissions.admit_dispatch(dispatch("null")).kind == "conflict"

    def test_x02_a_conflict_writes_nothing(self, stores: Stores) -> None:
        admitted(stores, dispatch(message=user("Look", image(b"one"))))
        before = stores.rows.select("flue_agent_submissions"), stores.rows.select("flue_submission_chunks")
        assert stores.submissions.admit_dispatch(dispatch(message=user("Look", image(b"two"), image(b"3")))).kind == "conflict"
        assert (stores.rows.select("flue_agent_submissions"), stores.rows.select("flue_submission_chunks")) == before

    def test_x02_an_unparseable_accepted_at_is_refused_before_any_statement(self, stores: Stores) -> None:
        with pytest.raises(FlueError, match=r"Internal dispatch admission received an invalid acceptedAt timestamp\."):
            stores.submissions.admit_dispatch(dispatch(accepted_at="yesterday"))
        with pytest.raises(FlueError, match=r"Internal direct admission received an invalid acceptedAt timestamp\."):
            stores.submissions.admit_direct(direct(accepted_at="yesterday"))
        assert stores.rows.select("flue_agent_submissions") == []

    def test_x02_payload_text_is_canonical_and_images_are_cut_at_the_marker(self, stores: Stores) -> None:
        admitted(stores, dispatch(message=user("Zoë", image(b"a"), image("")), initial_data={"b": 1.0, "10": None, "9": True}))
        (row,) = stores.rows.select("flue_agent_submissions")
        assert row["payload"] == (
            '{"kind":"dispatch","submissionId":"dispatch-1","agent":"assistant","id":"agent-1","message":{"kind":"user","body":"Zoë",'
            '"attachments":[{"type":"image","data":"__flue_submission_chunks__:0","mimeType":"image/png"},'
            '{"type":"image","data":"__flue_submission_chunks__:1","mimeType":"image/png"}]},'
            '"initialData":{"9":true,"10":null,"b":1},"acceptedAt":"2026-06-03T00:00:00.000Z"}'
        )
        chunks = {(c["item_id"], c["chunk_index"], c["chunk_count"], c["data"]) for c in stores.rows.select("flue_submission_chunks")}
        assert chunks == {("0", 0, 1, "YQ=="), ("1", 0, 1, "")}

    def test_x02_an_image_over_the_limit_is_refused(self, stores: Stores) -> None:
        with pytest.raises(FlueError, match=r"Image data exceeds the 14680064 character limit\."):
            stores.submissions.admit_dispatch(dispatch(message=user("Look", image("A" * (14 * 1024 * 1024 + 1)))))
        assert stores.rows.select("flue_agent_submissions") == []

    def test_x02_an_empty_attachment_list_stays_an_empty_list(self, stores: Stores) -> None:
        message = {"kind": "user", "body": "Hello", "attachments": []}
        assert admitted(stores, dispatch(message=message)).input["message"] == message
        assert submission(stores).input["message"] == message
