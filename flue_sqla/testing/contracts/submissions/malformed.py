"""X1: rows that break the contract's invariants (spec/submissions.md §3.3, §4, §5.1 and §8)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flue_sqla.errors import FlueError
from flue_sqla.testing.contracts.examples import (
    OWNER,
    SESSION,
    admitted,
    attempt,
    claimed,
    dispatch,
    image,
    ready,
    running,
    signal,
    submission,
    user,
)
from flue_sqla.testing.stores import Stores

ROW = "Persisted agent submission row is malformed."
PAYLOAD = "Persisted agent submission payload is malformed."
MARKERS = "Persisted image chunks do not match persisted image markers."
CHUNKS = "Persisted image chunks are missing or malformed."


def damage(stores: Stores, submission_id: str, **columns: Any) -> None:
    assert stores.rows.update("flue_agent_submissions", {"submission_id": submission_id}, **columns) == 1


def row(stores: Stores, submission_id: str) -> dict[str, Any]:
    (found,) = stores.rows.select("flue_agent_submissions", submission_id=submission_id)
    return found


def payload(**changes: Any) -> str:
    """The payload of ``dispatch-1`` with keys replaced; a key given as ``...`` is left out."""
    document = {**dispatch().to_payload(), **changes}
    return json.dumps({key: value for key, value in document.items() if value is not ...}, separators=(",", ":"))


class MalformedRowContract:
    """Lists terminate what they cannot read; ``get`` raises; claims change nothing."""

    @pytest.mark.parametrize(
        "columns",
        [
            {"kind": "prompt"},
            {"status": "paused"},
            {"attempt_id": "attempt-0"},
            {"input_applied_at": 1},
            {"started_at": 1},
            {"joined_into": "host-1"},
            {"status": "joining"},
            {"status": "joined"},
            {"status": "running"},
            {"status": "running", "attempt_id": "attempt-1"},
            {"status": "terminalizing", "attempt_id": "attempt-1"},
        ],
        ids=lambda columns: "-".join(columns) + "-" + "-".join(map(str, columns.values())),
    )
    def test_x01_get_raises_on_a_row_that_breaks_an_invariant(self, stores: Stores, columns: dict[str, Any]) -> None:
        ready(stores, dispatch())
        damage(stores, "dispatch-1", **columns)
        with pytest.raises(FlueError, match=ROW):
            stores.submissions.get("dispatch-1")

    @pytest.mark.parametrize(
        "document",
        [
            payload(kind="direct"),
            payload(submissionId="dispatch-2"),
            payload(agent="reviewer"),
            payload(id="agent-2"),
            payload(id=7),
            payload(acceptedAt="2026-06-03T00:00:01.000Z"),
            payload(acceptedAt="yesterday"),
            payload(acceptedAt=1_780_444_800_000),
            payload(message=...),
            payload(message="Hello"),
            payload(message={"kind": "user"}),
            payload(message={"kind": "user", "body": "Hello", "attachments": None}),
            payload(message={"kind": "user", "body": "Hello", "attachments": [{"type": "file", "data": "", "mimeType": "a/b"}]}),
            payload(message={"kind": "signal", "type": "", "body": "Hello"}),
            payload(message={"kind": "signal", "type": "memory", "body": "Hello"}),
            payload(message={"kind": "signal", "type": "a", "body": "Hello", "tagName": "1a"}),
            payload(message={"kind": "signal", "type": "a", "body": "Hello", "attributes": {"a": 1}}),
            "[]",
            "null",
        ],
    )
    def test_x01_get_raises_on_a_payload_that_is_not_the_rows(self, stores: Stores, document: str) -> None:
        ready(stores, dispatch())
        damage(stores, "dispatch-1", payload=document)
        with pytest.raises(FlueError, match=PAYLOAD):
            stores.submissions.get("dispatch-1")

    def test_x01_an_unknown_key_in_a_message_is_no_damage(self, stores: Stores) -> None:
        ready(stores, dispatch())
        document = payload(message={"kind": "signal", "type": "a.b", "body": "Hello", "future": {"x": 1}})
        damage(stores, "dispatch-1", payload=document)
        assert submission(stores).input["message"]["future"] == {"x": 1}

    def test_x01_what_a_signal_has_under_attachments_is_left_alone(self, stores: Stores) -> None:
        """spec/submissions.md §4: only user messages have images; a signal passes through untouched, also where it looks like a marker."""
        odd = {**signal(), "attachments": [image("__flue_submission_chunks__:0"), image(b"pixels")]}
        assert ready(stores, dispatch(message=odd)).input["message"] == odd
        assert submission(stores).input["message"] == odd
        assert stores.rows.select("flue_submission_chunks", submission_id="dispatch-1") == []
        replayed = stores.submissions.admit_dispatch(dispatch(message=odd))
        assert replayed.submission == submission(stores)

    def test_x01_sub_millisecond_digits_of_accepted_at_are_truncated(self, stores: Stores) -> None:
        admitted(stores, dispatch(accepted_at="2026-06-03T00:00:00.0009Z"))
        assert submission(stores).accepted_at == 1_780_444_800_000

    @pytest.mark.parametrize(
        ("damage_chunks", "message"),
        [
            ({"chunk_index": 1}, CHUNKS),
            ({"chunk_count": 2}, CHUNKS),
            ({"chunk_count": 0}, CHUNKS),
            ({"item_id": "1"}, MARKERS),
        ],
    )
    def test_x01_get_raises_on_chunks_that_do_not_fit(self, stores: Stores, damage_chunks: dict[str, Any], message: str) -> None:
        ready(stores, dispatch(message=user("Look", image(b"pixels"))))
        stores.rows.update("flue_submission_chunks", {"submission_id": "dispatch-1"}, **damage_chunks)
        with pytest.raises(FlueError, match=message):
            stores.submissions.get("dispatch-1")

    def test_x01_get_raises_on_missing_and_on_surplus_chunks(self, stores: Stores) -> None:
        ready(stores, dispatch(message=user("Look", image(b"pixels"))))
        chunk = {"submission_id": "dispatch-1", "item_id": "9", "chunk_index": 0, "chunk_count": 1, "data": "x"}
        stores.rows.insert("flue_submission_chunks", **chunk)
        with pytest.raises(FlueError, match=MARKERS):
            stores.submissions.get("dispatch-1")
        stores.rows.delete("flue_submission_chunks", submission_id="dispatch-1")
        with pytest.raises(FlueError, match=MARKERS):
            stores.submissions.get("dispatch-1")

    def test_x01_one_chunk_set_for_two_markers_is_damage(self, stores: Stores) -> None:
        marked = image("__flue_submission_chunks__:0")
        ready(stores, dispatch(message=user("Look", image(b"pixels"))))
        damage(stores, "dispatch-1", payload=payload(message=user("Look", marked, marked)))
        with pytest.raises(FlueError, match=MARKERS):
            stores.submissions.get("dispatch-1")

    def test_x01_chunks_of_a_payload_without_attachments_are_damage(self, stores: Stores) -> None:
        ready(stores, dispatch())
        chunk = {"submission_id": "dispatch-1", "item_id": "0", "chunk_index": 0, "chunk_count": 1, "data": "x"}
        stores.rows.insert("flue_submission_chunks", **chunk)
        with pytest.raises(FlueError, match=MARKERS):
            stores.submissions.get("dispatch-1")

    def test_x01_the_unready_scan_terminates_what_it_cannot_read(self, stores: Stores) -> None:
        admitted(stores, dispatch("dispatch-1"))
        admitted(stores, dispatch("dispatch-2"))
        damage(stores, "dispatch-1", payload=payload(message=...))
        assert [found.submission_id for found in stores.submissions.list_unready()] == ["dispatch-2"]
        stored = row(stores, "dispatch-1")
        assert (stored["status"], stored["settled_at"]) == ("settled", stores.clock.now())
        assert PAYLOAD in stored["error"]

    def test_x01_a_payload_that_is_no_json_is_terminated_with_the_parsers_message(self, stores: Stores) -> None:
        admitted(stores, dispatch())
        damage(stores, "dispatch-1", payload="{not json")
        assert stores.submissions.list_unready() == []
        stored = row(stores, "dispatch-1")
        assert stored["status"] == "settled"
        assert stored["error"]

    def test_x01_a_malformed_ready_row_is_terminated_once_it_is_head(self, stores: Stores) -> None:
        owner = running(stores, dispatch("dispatch-1"))
        ready(stores, dispatch("dispatch-2"))
        ready(stores, dispatch("dispatch-3"))
        damage(stores, "dispatch-2", payload="{}")
        assert stores.submissions.list_runnable() == []
        assert row(stores, "dispatch-2")["status"] == "queued"
        stores.submissions.complete(owner)
        stores.submissions.list_runnable()
        assert row(stores, "dispatch-2")["status"] == "settled"
        assert [found.submission_id for found in stores.submissions.list_runnable()] == ["dispatch-3"]

    @pytest.mark.parametrize("list_them", ["list_running", "list_expired"])
    def test_x01_a_malformed_host_is_terminated_and_fans_out(self, stores: Stores, list_them: str) -> None:
        host = running(stores, dispatch("host-1"), lease_expires_at=1)
        ready(stores, dispatch("child-1"))
        ready(stores, dispatch("child-2"))
        stores.submissions.claim_joinable(host, "assistant")
        stores.submissions.finalize_join(host, "child-1")
        damage(stores, "host-1", payload="{}")
        assert getattr(stores.submissions, list_them)() == []
        terminated = row(stores, "host-1")
        assert terminated["status"] == "settled"
        assert PAYLOAD in terminated["error"]
        assert (submission(stores, "child-1").status, submission(stores, "child-1").error) == ("settled", terminated["error"])
        assert submission(stores, "child-2").status == "queued"

    def test_x01_a_malformed_joining_row_is_dropped_from_the_list_and_left_alone(self, stores: Stores) -> None:
        host = running(stores, dispatch("host-1"))
        ready(stores, dispatch("child-1"))
        ready(stores, dispatch("child-2"))
        stores.submissions.claim_joinable(host, "assistant")
        damage(stores, "child-1", payload="{}")
        before = row(stores, "child-1")
        assert [found.submission_id for found in stores.submissions.list_joined("host-1")] == ["child-2"]
        assert row(stores, "child-1") == before

    def test_x01_claiming_a_malformed_head_raises_and_leaves_it_queued(self, stores: Stores) -> None:
        ready(stores, dispatch())
        damage(stores, "dispatch-1", payload="{}")
        before = row(stores, "dispatch-1")
        with pytest.raises(FlueError, match=PAYLOAD):
            claimed(stores, "dispatch-1")
        assert row(stores, "dispatch-1") == before

    def test_x01_claim_next_terminates_a_malformed_head_and_claims_the_others(self, stores: Stores) -> None:
        ready(stores, dispatch("dispatch-1"))
        ready(stores, dispatch("dispatch-2", id="agent-2"))
        damage(stores, "dispatch-1", payload="{}")
        taken = stores.submissions.claim_next(owner_id=OWNER, agents=["assistant"], limit=5)
        assert [found.submission_id for found in taken] == ["dispatch-2"]
        stored = row(stores, "dispatch-1")
        assert stored["status"] == "settled"
        assert PAYLOAD in stored["error"]
        assert (stored["attempt_id"], stored["attempt_count"], stored["owner_id"]) == (None, 0, None)

    def test_x01_a_damaged_row_can_still_be_settled_by_its_attempt(self, stores: Stores) -> None:
        owner = running(stores, dispatch())
        damage(stores, "dispatch-1", payload="{}")
        assert stores.submissions.fail(owner, "gave up") is True
        assert row(stores, "dispatch-1")["error"] == "gave up"

    def test_x01_an_abort_request_does_not_parse_rows(self, stores: Stores) -> None:
        ready(stores, dispatch())
        damage(stores, "dispatch-1", payload="{}")
        assert stores.submissions.request_abort(SESSION) == ["dispatch-1"]
        assert stores.submissions.settle_queued("dispatch-1", "aborted", "stop") is True
        assert stores.submissions.complete(attempt()) is False
