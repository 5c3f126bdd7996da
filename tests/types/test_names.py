"""The names that other programs are written against: every method takes these parameters, by these names, on both faces and in units."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import flue_sqla
from flue_sqla import UNSET, Flue, FlueError, errors
from flue_sqla.asyncio import AsyncFlue

R = inspect.Parameter.empty
"""A parameter that has to be given."""

# Positional parameters stand before the None, keyword-only ones after it; each with its default.
NAMES: dict[str, list[tuple[str, dict[str | None, Any]]]] = {
    "submissions": [
        ("get", {"submission_id": R}),
        ("has_unsettled", {}),
        ("list_runnable", {"limit": None}),
        ("list_unready", {}),
        ("list_running", {}),
        ("list_expired", {}),
        ("list_pending_settlements", {}),
        ("list_joined", {"host_submission_id": R}),
        ("admit_dispatch", {"dispatch": R}),
        ("admit_direct", {"direct": R}),
        ("mark_ready", {"submission_id": R}),
        ("claim", {"submission_id": R, None: ..., "attempt_id": R, "owner_id": R, "lease_expires_at": R}),
        ("claim_next", {None: ..., "owner_id": R, "agents": R, "limit": 1}),
        ("mark_input_applied", {"attempt": R, "durability": None}),
        ("request_abort", {"session_key": R}),
        ("requeue", {"attempt": R}),
        ("release", {"attempt": R}),
        ("replace_attempt", {"attempt": R, "next_attempt_id": R, "lease": None}),
        ("reserve_settlement", {"attempt": R, "record_id": R, "record": R}),
        ("finalize_settlement", {"attempt": R, "record_id": R, "error_message": None}),
        ("complete", {"attempt": R}),
        ("fail", {"attempt": R, "error": R}),
        ("settle_queued", {"submission_id": R, "outcome": R, "error": R}),
        ("claim_joinable", {"host": R, "agent_name": R}),
        ("finalize_join", {"host": R, "submission_id": R}),
        ("revert_join", {"host": R, "submission_id": R}),
        ("renew_leases", {"owner_id": R, "submission_ids": R}),
    ],
    "conversations": [
        ("create", {"path": R, "agent_name": R, "instance_id": R}),
        ("acquire_producer", {"path": R, "producer_id": R}),
        (
            "append",
            {
                "path": R,
                None: ...,
                "producer_id": R,
                "producer_epoch": R,
                "incarnation": R,
                "producer_sequence": R,
                "records": R,
                "submission": None,
            },
        ),
        ("read", {"path": R, None: ..., "offset": "-1", "limit": None}),
        ("get_meta", {"path": R}),
        ("subscribe", {"path": R, "listener": R}),
        ("put_checkpoint", {"path": R, "checkpoint": R}),
        ("get_checkpoint", {"path": R, None: ..., "at_or_before": None}),
    ],
    "attachments": [
        ("put", {"stream_path": R, "attachment": R, "data": R, "conversation_id": R}),
        ("get", {"stream_path": R, "attachment_id": R, "conversation_id": R}),
    ],
    "sessions": [
        ("save", {"key": R, "data": R}),
        ("load", {"key": R}),
        ("delete", {"key": R}),
        ("delete_tree", {"session_key": R, "delete_tree": None}),
        ("list_pending_deletions", {}),
    ],
    "journals": [
        ("get", {"submission_id": R}),
        (
            "begin",
            {
                None: ...,
                "submission_id": R,
                "session_key": R,
                "kind": R,
                "attempt_id": R,
                "operation_id": R,
                "turn_id": R,
                "phase": R,
                "checkpoint_leaf_id": None,
                "tool_request": UNSET,
            },
        ),
        ("update_phase", {"attempt": R, "phase": R, None: ..., "checkpoint_leaf_id": UNSET, "tool_request": UNSET, "stream_key": UNSET}),
        ("commit", {"attempt": R, "leaf_id": R}),
        ("mark_stream_consumed", {"attempt": R, "stream_key": R}),
        ("replace_attempt", {"attempt": R, "next_attempt_id": R, "lease": None}),
        ("append_segment", {"key": R, "index": R, "body": R}),
        ("segments", {"key": R}),
        ("delete_segments", {"key": R}),
        ("insert_marker", {"attempt": R}),
        ("delete_marker", {"attempt": R}),
        ("list_markers", {}),
    ],
    "runs": [
        ("create", {None: ..., "run_id": R, "workflow_name": R, "started_at": R, "input": UNSET, "trace_carrier": None}),
        ("end", {"run_id": R, None: ..., "ended_at": R, "is_error": R, "duration_ms": R, "result": UNSET, "error": UNSET}),
        ("get", {"run_id": R}),
        ("lookup", {"run_id": R}),
        ("list", {None: ..., "status": None, "workflow_name": None, "limit": None, "cursor": None}),
    ],
    "events": [
        ("create", {"path": R}),
        ("append", {"path": R, "event": R}),
        ("append_once", {"path": R, "key": R, "event": R}),
        ("read", {"path": R, None: ..., "offset": "-1", "limit": None}),
        ("close", {"path": R}),
        ("get_meta", {"path": R}),
        ("subscribe", {"path": R, "listener": R}),
    ],
    "artifacts": [
        (
            "put",
            {
                "source": R,
                None: ...,
                "name": R,
                "content_type": None,
                "tenant": "default",
                "run_id": None,
                "submission_id": None,
                "metadata": None,
                "expected_sha256": None,
                "max_bytes": None,
            },
        ),
        ("get", {"id": R, None: ..., "tenant": "default"}),
        ("open", {"id": R, None: ..., "tenant": "default"}),
        ("read_range", {"id": R, "start": R, "end": None, None: ..., "tenant": "default"}),
        ("url", {"id": R, "expires_in": R, None: ..., "tenant": "default"}),
        ("list", {None: ..., "tenant": "default", "run_id": None, "submission_id": None, "limit": None, "cursor": None}),
        ("delete", {"id": R, None: ..., "tenant": "default"}),
        ("verify", {}),
        ("sweep", {}),
    ],
}


def check(owner: Any) -> None:
    for repository, methods in NAMES.items():
        for name, wanted in methods:
            method = f"{type(owner).__name__}.{repository}.{name}"
            found = inspect.signature(getattr(getattr(owner, repository), name)).parameters
            kind: Any = inspect.Parameter.POSITIONAL_OR_KEYWORD
            for parameter, default in wanted.items():
                if parameter is None:
                    kind = inspect.Parameter.KEYWORD_ONLY
                    continue
                assert parameter in found, f"{method} has no {parameter}"
                assert (found[parameter].kind, found[parameter].default) == (kind, default), f"{method}: {parameter}"
            more = [each for each in found.values() if each.name not in wanted]
            assert all(each.kind is inspect.Parameter.KEYWORD_ONLY and each.default is not R for each in more), f"{method}: {more}"
            places = [each.name for each in found.values() if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
            assert places == [each for each in wanted if each is not None][: len(places)], method


@pytest.mark.databases("sqlite")
def test_names_of_the_blocking_face(flue: Flue) -> None:
    check(flue)
    with flue.begin() as unit:
        check(unit)


@pytest.mark.databases("sqlite")
async def test_names_of_the_awaited_face(aflue: AsyncFlue) -> None:
    check(aflue)
    async with aflue.begin() as unit:
        check(unit)


@pytest.mark.parametrize("face", [Flue, AsyncFlue])
def test_a_flue_is_made_in_the_same_ways_on_both_faces(face: type) -> None:
    found = inspect.signature(face).parameters
    assert list(found)[:5] == ["url", "engine", "artifacts", "schema", "settings"]
    assert all(found[name].default is None for name in list(found))
    for name in ("from_settings", "boot", "begin", "bind", "close"):
        assert callable(getattr(face, name))


@pytest.mark.parametrize(
    "name",
    [
        *("Attempt", "Lease", "Durability", "DispatchInput", "DirectInput", "Submission", "Admission", "SettlementObligation"),
        *("ProducerClaim", "StreamPage", "FoldCheckpoint", "AttachmentRef", "Attachment", "Artifact"),
    ],
)
def test_value_objects_are_exported_frozen_and_have_a_wire_form(name: str) -> None:
    record = getattr(flue_sqla, name)
    assert record.model_config["frozen"]
    assert callable(record.from_wire)
    assert callable(record.to_wire)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("PersistedFormatVersionError", "persisted_format_version_unsupported"),
        ("ConversationStreamStoreError", "conversation_stream_store_failure"),
        ("AttachmentConflictError", "attachment_conflict"),
        ("AttachmentIntegrityError", "attachment_integrity"),
    ],
)
def test_the_contracts_errors_have_its_types_as_codes(name: str, code: str) -> None:
    error = getattr(errors, name)
    assert issubclass(error, FlueError)
    assert error.code == code
