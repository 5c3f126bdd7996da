"""Calls the same method on a database and on the reference model, and insists that both answer alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flue_sqla.errors import FlueError
from flue_sqla.records.base import Record
from flue_sqla.testing.stores import Stores

__all__ = ["Comparison", "comparable"]

#: Values that each side makes up for itself: identity columns burn numbers, incarnations are random.
OWN_VALUES = frozenset({"sequence", "incarnation"})

#: What the contract says that an error carries; more is allowed.
META = {
    "conversation_stream_store_failure": ("operation", "path", "reason"),
    "attachment_conflict": ("path", "attachmentId"),
    "attachment_integrity": ("attachmentId", "reason"),
}


class Comparison:
    """A database, the model, and one clock for both."""

    def __init__(self, real: Stores, model: Stores) -> None:
        if real.clock is not model.clock:
            raise ValueError("the two sides must read one clock")
        self.real = real
        self.model = model

    def same(self, call: Callable[[Stores], Any], *, unordered: bool = False) -> Any:
        """Makes the call on both sides and returns the model's raw result; None where both raised the same error."""
        value, expected = _outcome(self.model, call)
        _, found = _outcome(self.real, call)
        if unordered:
            expected, found = _sorted(expected), _sorted(found)
        assert found == expected
        return value

    def same_rows(self) -> None:
        """Every table holds the same rows on both sides."""
        for table, columns in TABLES.items():
            found = _rows(self.real, table, columns)
            expected = _rows(self.model, table, columns)
            assert found == expected, table
        order = [[row["submission_id"] for row in _by_sequence(side)] for side in (self.real, self.model)]
        assert order[0] == order[1]


def comparable(value: Any) -> Any:
    """The wire form of a result without the values that each side makes up for itself."""
    if isinstance(value, Record):
        return comparable(value.to_wire())
    if isinstance(value, Mapping):
        # Key order is part of the contract.
        return [(key, comparable(item)) for key, item in value.items() if key not in OWN_VALUES]
    if isinstance(value, (list, tuple)):
        return [comparable(item) for item in value]
    return value


def _outcome(stores: Stores, call: Callable[[Stores], Any]) -> tuple[Any, Any]:
    try:
        value = call(stores)
    except FlueError as error:
        return None, ("raised", error.code, comparable({key: error.meta.get(key) for key in META.get(error.code, ())}))
    return value, comparable(value)


def _sorted(outcome: Any) -> Any:
    return sorted(outcome, key=repr) if isinstance(outcome, list) else outcome


def _by_sequence(stores: Stores) -> list[dict[str, Any]]:
    return sorted(stores.rows.select("flue_agent_submissions"), key=lambda row: int(row["sequence"]))


def _rows(stores: Stores, table: str, columns: str) -> list[tuple[Any, ...]]:
    names = columns.split()
    return sorted((tuple(row[name] for name in names) for row in stores.rows.select(table)), key=repr)


#: What is compared at the end: the columns of the contract that every profile has and that are not random.
TABLES: dict[str, str] = {
    "flue_agent_submissions": "submission_id session_key kind payload status accepted_at canonical_ready_at attempt_id input_applied_at"
    " abort_requested_at started_at joined_into settled_at error attempt_count max_attempts timeout_at owner_id lease_expires_at"
    " settlement_record_id settlement_record",
    "flue_submission_chunks": "submission_id item_id chunk_index chunk_count data",
    "flue_conversation_streams": "path identity_json next_offset producer_id producer_epoch next_producer_sequence",
    "flue_conversation_stream_batches": "path seq producer_id producer_epoch producer_sequence data submission_id attempt_id",
    "flue_attachments": "stream_path attachment_id mime_type byte_size digest conversation_id created_at",
    "flue_sessions": "id data",
    "flue_session_entries": "session_id entry_id position data",
    "flue_image_chunks": "owner_kind owner_id owner_part image_id chunk_index chunk_count data",
    "flue_agent_turn_journals": "submission_id session_key kind attempt_id operation_id turn_id phase revision created_at updated_at"
    " checkpoint_leaf_id tool_request_json stream_key stream_consumed_at committed committed_leaf_id",
    "flue_agent_stream_chunks": "stream_key segment_index body",
    "flue_agent_session_deletions": "session_key started_at",
    "flue_agent_dispatch_receipts": "dispatch_id accepted_at",
    "flue_agent_attempt_markers": "submission_id attempt_id created_at",
    "flue_runs": "run_id workflow_name status started_at payload traceparent tracestate ended_at is_error duration_ms result error",
    "flue_event_streams": "path next_offset closed",
    "flue_event_stream_entries": "path seq data",
}
