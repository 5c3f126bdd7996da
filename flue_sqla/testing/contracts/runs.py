"""Workflow runs and their index: spec/runs.md §1 to §3 and X17."""

from __future__ import annotations

import base64
from functools import partial
from typing import Any

import pytest

from flue_sqla.records import UNSET
from flue_sqla.testing.stores import Stores

__all__ = ["RunContract"]

STARTED = "2026-06-01T10:00:00.000Z"
ENDED = "2026-06-01T10:00:05.000Z"


def create(stores: Stores, run_id: str = "run_1", **changes: Any) -> None:
    stores.runs.create(**{"run_id": run_id, "workflow_name": "nightly", "started_at": STARTED, **changes})


def run(stores: Stores, run_id: str = "run_1") -> dict[str, Any]:
    found = stores.runs.get(run_id)
    assert found is not None
    return found.to_wire()


def ids(stores: Stores, **filters: Any) -> list[str]:
    return [pointer.run_id for pointer in stores.runs.list(**filters).runs]


class RunRecordContract:
    """spec/runs.md §1 and §2."""

    def test_r01_a_new_run_is_active_and_has_only_what_is_set(self, stores: Stores) -> None:
        create(stores)
        assert run(stores) == {"runId": "run_1", "workflowName": "nightly", "status": "active", "startedAt": STARTED}

    def test_r02_input_and_trace_carrier(self, stores: Stores) -> None:
        carrier = {"traceparent": "00-1-2-01", "tracestate": "a=b"}
        create(stores, input={"b": [1, None], "10": "é"}, trace_carrier=carrier)
        found = run(stores)
        assert (found["input"], found["traceCarrier"]) == ({"10": "é", "b": [1, None]}, carrier)
        create(stores, "run_2", trace_carrier={"traceparent": "00-1-2-01"})
        assert run(stores, "run_2")["traceCarrier"] == {"traceparent": "00-1-2-01"}

    def test_r03_null_is_not_absent(self, stores: Stores) -> None:
        create(stores, "run_1", input=None)
        create(stores, "run_2", input=UNSET)
        assert run(stores, "run_1")["input"] is None
        assert "input" not in run(stores, "run_2")
        stores.runs.end("run_1", ended_at=ENDED, is_error=False, duration_ms=5_000, result=None)
        stores.runs.end("run_2", ended_at=ENDED, is_error=True, duration_ms=5_000, error=None)
        assert run(stores, "run_1")["result"] is None
        assert "error" not in run(stores, "run_1")
        assert run(stores, "run_2")["error"] is None
        assert "result" not in run(stores, "run_2")

    def test_r04_the_first_writer_wins(self, stores: Stores) -> None:
        create(stores, input="first")
        create(stores, input="second", workflow_name="other", started_at=ENDED)
        assert run(stores)["input"] == "first"
        stores.runs.end("run_1", ended_at=ENDED, is_error=False, duration_ms=5_000, result=1)
        finished = run(stores)
        create(stores, input="third")
        assert run(stores) == finished

    def test_r05_an_ended_run(self, stores: Stores) -> None:
        create(stores)
        stores.runs.end("run_1", ended_at=ENDED, is_error=False, duration_ms=5_000, result={"ok": True})
        assert run(stores) == {
            "runId": "run_1",
            "workflowName": "nightly",
            "status": "completed",
            "startedAt": STARTED,
            "endedAt": ENDED,
            "isError": False,
            "durationMs": 5_000,
            "result": {"ok": True},
        }

    def test_r06_a_second_end_overwrites_the_first(self, stores: Stores) -> None:
        create(stores)
        stores.runs.end("run_1", ended_at=ENDED, is_error=False, duration_ms=5_000, result=1)
        stores.runs.end("run_1", ended_at=ENDED, is_error=True, duration_ms=6_000, error={"message": "late"})
        found = run(stores)
        assert (found["status"], found["isError"], found["durationMs"], found["error"]) == ("errored", True, 6_000, {"message": "late"})
        assert "result" not in found

    def test_r07_ending_an_unknown_run_does_nothing(self, stores: Stores) -> None:
        stores.runs.end("run_1", ended_at=ENDED, is_error=False, duration_ms=1)
        assert stores.runs.get("run_1") is None

    def test_r08_lookup_is_exactly_two_fields(self, stores: Stores) -> None:
        create(stores, workflow_name="Nachtläufer \U0001f916")
        found = stores.runs.lookup("run_1")
        assert found is not None
        assert found.to_wire() == {"runId": "run_1", "workflowName": "Nachtläufer \U0001f916"}
        assert stores.runs.lookup("run_2") is None

    def test_r09_of_concurrent_creators_one_is_the_first(self, stores: Stores) -> None:
        outcomes = stores.concurrently(*(partial(create, stores, input=number) for number in range(4)))
        assert not any(outcome.raised for outcome in outcomes)
        assert run(stores)["input"] in range(4)


class RunIndexContract:
    """spec/runs.md §3."""

    def test_r10_newest_first_with_the_pointer_fields_only(self, stores: Stores) -> None:
        create(stores, "run_1", input="not listed")
        create(stores, "run_2", started_at="2026-06-02T10:00:00.000Z")
        stores.runs.end("run_1", ended_at=ENDED, is_error=False, duration_ms=5_000, result="not listed")
        assert stores.runs.list().to_wire() == {
            "runs": [
                {"runId": "run_2", "workflowName": "nightly", "status": "active", "startedAt": "2026-06-02T10:00:00.000Z"},
                {
                    "runId": "run_1",
                    "workflowName": "nightly",
                    "status": "completed",
                    "startedAt": STARTED,
                    "endedAt": ENDED,
                    "durationMs": 5_000,
                    "isError": False,
                },
            ]
        }

    def test_r11_filters_are_exact_and_combined(self, stores: Stores) -> None:
        create(stores, "run_1")
        create(stores, "run_2", workflow_name="Nightly")
        create(stores, "run_3")
        stores.runs.end("run_3", ended_at=ENDED, is_error=True, duration_ms=1)
        assert ids(stores, workflow_name="nightly") == ["run_3", "run_1"]
        assert ids(stores, status="errored") == ["run_3"]
        assert ids(stores, status="active", workflow_name="nightly") == ["run_1"]
        assert ids(stores, status="completed") == []
        assert ids(stores, status="", workflow_name="") == ["run_3", "run_2", "run_1"]

    @pytest.mark.parametrize(("limit", "returned"), [(1, 1), (2, 2), (3, 3), (4, 3), (0, 3), (-1, 3), (None, 3), (5_000, 3)])
    def test_r12_limits(self, stores: Stores, limit: int | None, returned: int) -> None:
        for number in range(3):
            create(stores, f"run_{number}")
        page = stores.runs.list(limit=limit)
        assert len(page.runs) == returned
        assert ("nextCursor" in page.to_wire()) is (returned < 3)

    def test_x17_ties_on_started_at_are_broken_by_run_id_descending(self, stores: Stores) -> None:
        # Bytewise, on every database: upper case before underscore before lower case.
        names = ["run_B", "run__", "run_a", "run_Z", "run_é", "run_1"]
        for name in names:
            create(stores, name)
        expected = ["run_é", "run_a", "run__", "run_Z", "run_B", "run_1"]
        assert ids(stores) == expected
        walked, cursor = [], None
        while True:
            page = stores.runs.list(limit=1, cursor=cursor)
            walked += [pointer.run_id for pointer in page.runs]
            if (cursor := page.next_cursor) is None:
                break
        assert walked == expected

    def test_x17_the_cursor_is_the_contracts_text(self, stores: Stores) -> None:
        create(stores, "run_1")
        create(stores, "run_2")
        cursor = stores.runs.list(limit=1).next_cursor
        text = base64.urlsafe_b64encode(b'{"s":"2026-06-01T10:00:00.000Z","r":"run_2"}').decode().rstrip("=")
        assert cursor == text
        assert ids(stores, limit=1, cursor=text) == ["run_1"]

    @pytest.mark.parametrize(
        "cursor", ["", "???", "bm9uc2Vuc2U", "e30", "eyJzIjoxLCJyIjoicnVuXzEifQ", "W10", "bnVsbA", "ÿ", "eyJzIjoiYSJ9"]
    )
    def test_x17_a_malformed_cursor_is_ignored(self, stores: Stores, cursor: str) -> None:
        create(stores, "run_1")
        create(stores, "run_2")
        assert ids(stores, cursor=cursor) == ["run_2", "run_1"]

    def test_x17_filters_are_not_in_the_cursor_and_must_be_repeated(self, stores: Stores) -> None:
        for number in range(6):
            create(stores, f"run_{number}", workflow_name="odd" if number % 2 else "even")
        page = stores.runs.list(workflow_name="odd", limit=1)
        assert [pointer.run_id for pointer in page.runs] == ["run_5"]
        assert ids(stores, workflow_name="odd", cursor=page.next_cursor) == ["run_3", "run_1"]
        assert ids(stores, cursor=page.next_cursor) == ["run_4", "run_3", "run_2", "run_1", "run_0"]

    def test_x17_a_cursor_is_a_position_not_a_row(self, stores: Stores) -> None:
        create(stores, "run_1")
        gone = base64.urlsafe_b64encode(b'{"s":"2026-06-01T10:00:00.000Z","r":"run_0"}').decode().rstrip("=")
        assert ids(stores, cursor=gone) == []
        after = base64.urlsafe_b64encode(b'{"s":"2026-06-01T10:00:00.001Z","r":""}').decode().rstrip("=")
        assert ids(stores, cursor=after) == ["run_1"]


class RunContract(RunRecordContract, RunIndexContract):
    """Every behaviour of run records and their index."""
