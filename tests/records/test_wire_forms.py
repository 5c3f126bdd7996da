"""Value objects on the wire: the contract's keys in its order, absent keys left out, explicit nulls kept, and back again."""

from __future__ import annotations

from typing import Any

import pytest

from flue_sqla.errors import InvalidInputError
from flue_sqla.records import (
    Admission,
    Artifact,
    Attachment,
    AttachmentRef,
    Attempt,
    AttemptMarker,
    DirectInput,
    DispatchInput,
    DispatchReceipt,
    Durability,
    EventPage,
    EventStreamMeta,
    FoldCheckpoint,
    Lease,
    Outcome,
    ProducerClaim,
    Receipt,
    Run,
    RunPage,
    RunPointer,
    SettlementObligation,
    StoredEvent,
    StreamBatch,
    StreamIdentity,
    StreamMeta,
    StreamPage,
    StreamSegment,
    Submission,
    TraceCarrier,
    TurnJournal,
    WorkflowRunPointer,
)
from flue_sqla.records.base import Record

INPUT: dict[str, Any] = {"submission_id": "s", "agent": "a", "id": "i", "message": {"kind": "user", "body": "b"}, "accepted_at": "t"}
INPUT_WIRE = {"submissionId": "s", "agent": "a", "id": "i", "message": {"kind": "user", "body": "b"}}
TRACE = TraceCarrier(traceparent="00-1-2-01")
RUN: dict[str, Any] = {"run_id": "r", "workflow_name": "w", "status": "completed", "started_at": "t"}
RUN_WIRE = {"runId": "r", "workflowName": "w", "status": "completed", "startedAt": "t"}
REF = AttachmentRef.of("att", "image/png", b"x")
REF_WIRE = {"id": "att", "mimeType": "image/png", "size": 1, "digest": REF.digest}

FORMS: list[tuple[Record, dict[str, Any]]] = [
    (Attempt(submission_id="s", attempt_id="a"), {"submissionId": "s", "attemptId": "a"}),
    (Lease(owner_id="o", lease_expires_at=1), {"ownerId": "o", "leaseExpiresAt": 1}),
    (Durability(max_attempts=5, timeout_at=9), {"maxAttempts": 5, "timeoutAt": 9}),
    (TRACE, {"traceparent": "00-1-2-01"}),
    (DispatchInput(**INPUT), {**INPUT_WIRE, "acceptedAt": "t"}),
    (DispatchInput(**INPUT, initial_data=None, uid=None), {**INPUT_WIRE, "initialData": None, "acceptedAt": "t", "uid": None}),
    (
        DirectInput(**INPUT, initial_data=[1], trace_carrier=TRACE),
        {"kind": "direct", **INPUT_WIRE, "initialData": [1], "acceptedAt": "t", "traceCarrier": TRACE.to_wire()},
    ),
    (
        Submission(
            sequence=1,
            submission_id="s",
            session_key="k",
            kind="direct",
            status="queued",
            input={"b": None, "a": 1},
            accepted_at=1,
            attempt_count=0,
            max_attempts=10,
            timeout_at=0,
            lease_expires_at=0,
        ),
        {
            "sequence": 1,
            "submissionId": "s",
            "sessionKey": "k",
            "kind": "direct",
            "status": "queued",
            "input": {"b": None, "a": 1},
            "acceptedAt": 1,
            "canonicalReadyAt": None,
            "attemptCount": 0,
            "maxAttempts": 10,
            "timeoutAt": 0,
            "leaseExpiresAt": 0,
        },
    ),
    (Admission(kind="conflict"), {"kind": "conflict"}),
    (
        Admission(kind="retained_receipt", receipt=Receipt(submission_id="s", accepted_at=1)),
        {"kind": "retained_receipt", "receipt": {"submissionId": "s", "acceptedAt": 1}},
    ),
    (
        SettlementObligation(submission_id="s", session_key="k", attempt_id="a", record_id="r", record={"id": "r"}),
        {"submissionId": "s", "sessionKey": "k", "attemptId": "a", "recordId": "r", "record": {"id": "r"}},
    ),
    (
        ProducerClaim(producer_id="p", producer_epoch=1, incarnation="i", next_producer_sequence=0, offset="-1"),
        {"producerId": "p", "producerEpoch": 1, "incarnation": "i", "nextProducerSequence": 0, "offset": "-1"},
    ),
    (
        StreamPage(batches=[StreamBatch(offset="0_0", records=[{"b": 1, "a": 2}])], next_offset="0_0", up_to_date=True),
        {"batches": [{"offset": "0_0", "records": [{"b": 1, "a": 2}]}], "nextOffset": "0_0", "upToDate": True},
    ),
    (
        StreamMeta(
            identity=StreamIdentity(agent_name="a", instance_id="i"),
            incarnation="inc",
            next_offset="-1",
            producer_id=None,
            producer_epoch=0,
            next_producer_sequence=0,
        ),
        {
            "identity": {"agentName": "a", "instanceId": "i"},
            "incarnation": "inc",
            "nextOffset": "-1",
            "producerId": None,
            "producerEpoch": 0,
            "nextProducerSequence": 0,
        },
    ),
    (
        FoldCheckpoint(offset="-1", incarnation="i", format_version=1, data="{}"),
        {"offset": "-1", "incarnation": "i", "formatVersion": 1, "data": "{}"},
    ),
    (REF, REF_WIRE),
    (AttachmentRef.of("att", "image/png", b"x", "cat.png"), {**REF_WIRE, "filename": "cat.png"}),
    (Run(**RUN, input=None), {**RUN_WIRE, "input": None}),
    (
        Run(**RUN, trace_carrier=TRACE, ended_at="u", is_error=False, duration_ms=0, result=None, error={"message": "m"}),
        {
            **RUN_WIRE,
            "traceCarrier": TRACE.to_wire(),
            "endedAt": "u",
            "isError": False,
            "durationMs": 0,
            "result": None,
            "error": {"message": "m"},
        },
    ),
    (RunPage(runs=[RunPointer(**RUN)], next_cursor="c"), {"runs": [RUN_WIRE], "nextCursor": "c"}),
    (WorkflowRunPointer(run_id="r", workflow_name="w"), {"runId": "r", "workflowName": "w"}),
    (
        EventPage(events=[StoredEvent(data=None, offset="0_0")], next_offset="0_0", up_to_date=True, closed=False),
        {"events": [{"data": None, "offset": "0_0"}], "nextOffset": "0_0", "upToDate": True, "closed": False},
    ),
    (EventStreamMeta(next_offset="-1", closed=True), {"nextOffset": "-1", "closed": True}),
    (
        TurnJournal(
            submission_id="s",
            session_key="k",
            kind="direct",
            attempt_id="a",
            operation_id="o",
            turn_id="t",
            phase="committed",
            revision=2,
            created_at=1,
            updated_at=3,
            committed=True,
            tool_request=None,
        ),
        {
            "submissionId": "s",
            "sessionKey": "k",
            "kind": "direct",
            "attemptId": "a",
            "operationId": "o",
            "turnId": "t",
            "phase": "committed",
            "revision": 2,
            "createdAt": 1,
            "updatedAt": 3,
            "committed": True,
            "toolRequest": None,
        },
    ),
    (StreamSegment(segment_index=0, body="[]"), {"segmentIndex": 0, "body": "[]"}),
    (AttemptMarker(submission_id="s", attempt_id="a", created_at=1), {"submissionId": "s", "attemptId": "a", "createdAt": 1}),
    (
        DispatchReceipt(submission_id="s", accepted_at=1, deduplicated=False),
        {"submissionId": "s", "acceptedAt": 1, "deduplicated": False},
    ),
    (
        Outcome(submission_id="s", outcome="completed", result=None, settled_at=1),
        {"submissionId": "s", "outcome": "completed", "result": None, "settledAt": 1},
    ),
    (
        Artifact(id="a", tenant="t", name="n", size=1, sha256="d", metadata={"b": None}, created_at=1, storage_key="t/a"),
        {
            "id": "a",
            "tenant": "t",
            "name": "n",
            "size": 1,
            "sha256": "d",
            "metadata": {"b": None},
            "createdAt": 1,
            "storageKey": "t/a",
        },
    ),
]


@pytest.mark.parametrize(("record", "wire"), FORMS, ids=lambda value: type(value).__name__)
def test_there_and_back(record: Record, wire: dict[str, Any]) -> None:
    assert record.to_wire() == wire
    assert list(record.to_wire()) == list(wire)
    assert type(record).from_wire(wire) == record


def test_the_bytes_of_an_attachment_come_in_and_do_not_go_out() -> None:
    attachment = Attachment(ref=REF, data=b"x")
    assert attachment.to_wire() == {"attachment": REF_WIRE}
    assert Attachment.from_wire({"attachment": REF_WIRE, "bytes": b"x"}) == attachment


@pytest.mark.parametrize("kind", [DispatchInput, DirectInput])
def test_an_input_may_name_its_own_kind_only(kind: type[DispatchInput] | type[DirectInput]) -> None:
    wire = {**INPUT_WIRE, "acceptedAt": "t"}
    assert kind.from_wire({"kind": kind.kind, **wire}) == kind.from_wire(wire) == kind(**INPUT)
    with pytest.raises(InvalidInputError, match="kind"):
        kind.from_wire({"kind": "prompt", **wire})


@pytest.mark.parametrize("record", [Attempt, DispatchInput, DirectInput, Run])
@pytest.mark.parametrize("wire", [None, 5, "text", ["submissionId"], {}, {"submissionId": 5}, {"unknown": 1}])
def test_what_is_no_such_object_is_refused(record: type[Record], wire: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"Not a {record.__name__}"):
        record.from_wire(wire)


@pytest.mark.parametrize(("record", "wire"), FORMS, ids=lambda value: type(value).__name__)
def test_records_are_frozen(record: Record, wire: dict[str, Any]) -> None:
    name = next(iter(type(record).model_fields))
    with pytest.raises(ValueError, match="frozen"):
        setattr(record, name, None)
