"""Admission from everywhere: keyed replays, waiting, and never disturbing a turn that runs."""

from __future__ import annotations

import asyncio
import base64
import sys
from pathlib import Path
from typing import Any

import pytest

from flue_sqla import Flue
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.errors import (
    AgentInstanceExistsError,
    AgentInstanceMissingError,
    ConversationStreamStoreError,
    InvalidInputError,
    SubmissionConflictError,
    SubmissionMissingError,
    WaitTimeoutError,
)
from flue_sqla.worker import Context
from tests.databases.contract import Database
from tests.worker.support import assert_readable, outcome, records, working

ADMISSIONS = 1_000
PROCESSES = 4


def test_a_key_is_one_submission(flue: Flue) -> None:
    data = {"a": 1, "b": [True]}
    first = flue.dispatch("triage", id="1", message="hello", idempotency_key="k", initial_data=data)
    again = flue.dispatch("triage", id="1", message="hello", idempotency_key="k", initial_data={"b": [True], "a": 1.0})
    assert (again.submission_id, again.deduplicated, first.deduplicated) == (first.submission_id, True, False)
    assert again.accepted_at == first.accepted_at
    for other in ({"message": "hi", "initial_data": data}, {"message": "hello", "initial_data": {"a": 1, "b": [1]}}, {"message": "hello"}):
        with pytest.raises(SubmissionConflictError):
            flue.dispatch("triage", id="1", idempotency_key="k", **other)  # type: ignore[arg-type]
    elsewhere = flue.dispatch("triage", id="2", message="hello", idempotency_key="k", initial_data=data)
    assert elsewhere.submission_id != first.submission_id


async def test_a_key_answers_after_the_outcome_too(aflue: AsyncFlue) -> None:
    async def triage(ctx: Context) -> str:
        return "done"

    async with working(aflue, {"triage": triage}) as worker:
        first = await aflue.dispatch("triage", id="1", message="hello", idempotency_key="k")
        await outcome(aflue, first.submission_id)
        again = await aflue.dispatch("triage", id="1", message="hello", idempotency_key="k")
        assert again.deduplicated
        assert (await outcome(aflue, again.submission_id)).result == "done"
    assert worker.telemetry.counts["claimed"] == 1


def uid_of(flue: Flue, agent: str, instance: str) -> str:
    birth = flue.conversations.read(f"agents/{agent}/{instance}", limit=1).batches[0].records[0]
    assert birth["type"] == "conversation_created"
    return str(birth["uid"])


def test_a_send_condition_names_an_incarnation(flue: Flue) -> None:
    """spec/lifecycle.md §3, step 3."""
    for uid in ("inst_none", ""):
        with pytest.raises(AgentInstanceMissingError, match="does not exist"):
            flue.dispatch("triage", id="1", message="m", uid=uid)
    assert not flue.submissions.has_unsettled(), "nothing was accepted"
    flue.dispatch("triage", id="1", message="m", uid=None, initial_data=1)
    uid = uid_of(flue, "triage", "1")
    flue.dispatch("triage", id="1", message="m", uid=uid)
    with pytest.raises(AgentInstanceExistsError) as exists:
        flue.dispatch("triage", id="1", message="m", uid=None)
    assert exists.value.meta == {"agent": "triage", "id": "1"}
    with pytest.raises(AgentInstanceMissingError) as missing:
        flue.dispatch("triage", id="1", message="m", uid="inst_other")
    assert missing.value.meta == {"agent": "triage", "id": "1", "uid": "inst_other"}
    with pytest.raises(AgentInstanceMissingError):
        flue.dispatch("triage", id="2", message="m", uid=uid)
    for each in flue.overview.submissions():
        stored = flue.submissions.get(each.submission_id)
        assert stored is not None
        assert "uid" not in stored.input, "a condition is never stored"


@pytest.mark.parametrize("given", [{"uid": "inst_1", "initial_data": None}, {"uid": 7}, {"uid": "a\0"}], ids=str)
def test_a_condition_that_can_never_hold_is_refused(flue: Flue, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        flue.dispatch("triage", id="1", message="m", **given)


def test_a_retry_is_answered_though_the_first_try_took_the_condition(flue: Flue) -> None:
    """spec/submissions.md §10."""
    first = flue.dispatch("triage", id="1", message="m", idempotency_key="k", uid=None)
    again = flue.dispatch("triage", id="1", message="m", idempotency_key="k", uid=None)
    assert (again.submission_id, again.accepted_at, again.deduplicated) == (first.submission_id, first.accepted_at, True)
    with pytest.raises(SubmissionConflictError):
        flue.dispatch("triage", id="1", message="other", idempotency_key="k", uid=None)
    with pytest.raises(AgentInstanceExistsError):
        flue.dispatch("triage", id="1", message="m", idempotency_key="l", uid=None)


async def test_a_send_condition_awaited_and_in_a_unit(aflue: AsyncFlue) -> None:
    await aflue.dispatch("triage", id="1", message="m", uid=None)
    async with aflue.begin() as unit:
        with pytest.raises(AgentInstanceExistsError):
            await unit.dispatch("triage", id="1", message="m", uid=None)
        receipt = await unit.dispatch("triage", id="2", message="m", uid=None)
    assert await aflue.submissions.get(receipt.submission_id) is not None


def test_an_attachment_that_could_never_be_stored_is_refused_at_once(flue: Flue) -> None:
    image = {"type": "image", "mimeType": "image/png", "data": "a"}
    with pytest.raises(InvalidInputError):
        flue.dispatch("triage", id="1", message={"kind": "user", "body": "look", "attachments": [image]})
    assert not flue.submissions.has_unsettled()


@pytest.mark.parametrize(
    ("agent", "instance", "message"),
    [
        ("", "x", "m"),
        ("a", "", "m"),
        ("a\0b", "x", "m"),
        ("a", "x\0", "m"),
        ("a", "\ud800", "m"),
        ("a", 7, "m"),
        ("a", "x", 42),
        ("a", "x", None),
        ("a", "x", {"kind": "user", "body": "m", 1: 2}),
    ],
)
def test_what_could_never_run_is_refused_in_words(flue: Flue, agent: Any, instance: Any, message: Any) -> None:
    with pytest.raises(InvalidInputError):
        flue.dispatch(agent, id=instance, message=message)
    assert not flue.submissions.has_unsettled()


@pytest.mark.databases("mariadb")
@pytest.mark.parametrize("instance", ["x" * 300, "😀" * 125, "x "], ids=["long", "long in UTF-16", "blank"])
async def test_an_instance_whose_conversation_no_path_can_name_is_refused_at_once(flue: Flue, aflue: AsyncFlue, instance: str) -> None:
    with pytest.raises((ConversationStreamStoreError, InvalidInputError)):
        flue.dispatch("triage", id=instance, message="m")
    with pytest.raises((ConversationStreamStoreError, InvalidInputError)):
        await aflue.dispatch("triage", id=instance, message="m")
    assert not flue.submissions.has_unsettled()


@pytest.mark.parametrize("key", ["", "k" * 257, 7, b"key"])
def test_a_key_is_a_text_of_1_to_256_characters(flue: Flue, key: Any) -> None:
    with pytest.raises(InvalidInputError, match="1 to 256"):
        flue.dispatch("triage", id="1", message="hello", idempotency_key=key)


def test_waiting_has_an_end(flue: Flue) -> None:
    receipt = flue.dispatch("triage", id="1", message="hello")
    with pytest.raises(WaitTimeoutError) as caught:
        flue.wait(receipt.submission_id, timeout=0.01)
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(SubmissionMissingError):
        flue.wait("sub_unknown", timeout=0.01)


async def test_attachments_are_there_before_the_work_begins(aflue: AsyncFlue) -> None:
    image = {"type": "image", "mimeType": "image/png", "data": base64.b64encode(b"pixels").decode(), "filename": "p.png"}

    async def triage(ctx: Context) -> str:
        (message,) = [record for record in await records(aflue, ctx.path) if record["type"] == "user_message"]
        ref = message["content"][1]["attachment"]
        stored = await aflue.attachments.get(ctx.path, ref["id"], message["conversationId"])
        assert stored is not None
        return stored.data.decode()

    async with working(aflue, {"triage": triage}):
        receipt = await aflue.dispatch("triage", id="1", message={"kind": "user", "body": "look", "attachments": [image]})
        assert (await outcome(aflue, receipt.submission_id)).result == "pixels"


ADMITTER = """
import sys
from flue_sqla import Flue
with Flue(sys.argv[1], artifacts=sys.argv[2]) as flue:
    for number in range(int(sys.argv[3])):
        flue.dispatch("busy", id="1", message=str(number))
"""


@pytest.mark.slow
async def test_a_thousand_admissions_of_other_processes_leave_a_running_turn_its_producer(
    aflue: AsyncFlue, migrated: Database, tmp_path: Path
) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def busy(ctx: Context) -> int:
        started.set()
        await go_on.wait()
        await ctx.append({"type": "state_write", "name": "still", "value": "writing"})
        return len(await records(aflue, ctx.path))

    async with working(aflue, {"busy": busy}, concurrency=1) as worker:
        host = await aflue.dispatch("busy", id="1", message="first")
        await started.wait()
        before = await aflue.conversations.get_meta("agents/busy/1")
        command = [sys.executable, "-c", ADMITTER, migrated.url, str(tmp_path), str(ADMISSIONS // PROCESSES)]
        admitters = [await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2]) for _ in range(PROCESSES)]
        assert [await admitter.wait() for admitter in admitters] == [0] * PROCESSES
        assert before is not None
        assert await aflue.conversations.get_meta("agents/busy/1") == before, "neither epoch nor head has moved"
        assert await aflue.submissions.list_unready() == []
        worker.stop()
        go_on.set()
        assert (await outcome(aflue, host.submission_id)).ok
    assert worker.telemetry.counts["fenced"] == 0
    await assert_readable(aflue, "agents/busy/1")


async def test_two_admitters_of_a_new_instance_make_one_conversation(aflue: AsyncFlue) -> None:
    receipts = await asyncio.gather(*(aflue.dispatch("triage", id="new", message=str(n), initial_data=n) for n in range(6)))
    births = [record for record in await records(aflue, "agents/triage/new") if record["type"] == "conversation_created"]
    assert len(births) == 1
    for receipt in receipts:
        row = await aflue.submissions.get(receipt.submission_id)
        assert row is not None
        assert row.canonical_ready_at is not None
