"""What a type checker sees of the public names, on both faces: checked by mypy and pyright in `make types`, never executed.

A comment that ignores an error is itself an error where there is none (mypy: warn_unused_ignores, pyright:
reportUnnecessaryTypeIgnoreComment), so each marked line asserts that the mistake on it is found.
"""

from __future__ import annotations

from typing import assert_type

from flue_sqla import (
    Admission,
    Artifact,
    Attachment,
    Attempt,
    DispatchInput,
    DispatchReceipt,
    Flue,
    FlueSettings,
    Outcome,
    ProducerClaim,
    SettlementObligation,
    StreamPage,
    Submission,
)
from flue_sqla.asyncio import AsyncFlue, AsyncUnit
from flue_sqla.flue import Unit
from flue_sqla.worker import BlockingContext, Context, Delivery


def synchronous(flue: Flue, attempt: Attempt, dispatch: DispatchInput) -> None:
    assert_type(flue.submissions.get("s"), Submission | None)
    assert_type(flue.submissions.has_unsettled(), bool)
    assert_type(flue.submissions.list_runnable(limit=3), list[Submission])
    assert_type(flue.submissions.list_pending_settlements(), list[SettlementObligation])
    assert_type(flue.submissions.admit_dispatch(dispatch), Admission)
    assert_type(flue.submissions.claim("s", attempt_id="a", owner_id="o", lease_expires_at=1), Submission | None)
    assert_type(flue.submissions.claim_next(owner_id="o", agents=["x"], limit=2), list[Submission])
    assert_type(flue.submissions.complete(attempt), bool)
    assert_type(flue.conversations.acquire_producer("p", "me"), ProducerClaim)
    assert_type(flue.conversations.read("p", offset="-1"), StreamPage)
    assert_type(flue.attachments.get("p", "a", "c"), Attachment | None)
    assert_type(flue.dispatch("agent", id="1", message="hello"), DispatchReceipt)
    assert_type(flue.wait("s", timeout=1.5), Outcome)
    with flue.begin() as unit:
        assert_type(unit, Unit)
        assert_type(unit.submissions.complete(attempt), bool)
    flue.submissions.get(3)  # type: ignore[arg-type]
    flue.submissions.claim("s")  # type: ignore[call-arg]


async def asynchronous(flue: AsyncFlue, attempt: Attempt, dispatch: DispatchInput) -> None:
    assert_type(await flue.submissions.get("s"), Submission | None)
    assert_type(await flue.submissions.has_unsettled(), bool)
    assert_type(await flue.submissions.list_runnable(limit=3), list[Submission])
    assert_type(await flue.submissions.list_pending_settlements(), list[SettlementObligation])
    assert_type(await flue.submissions.admit_dispatch(dispatch), Admission)
    assert_type(await flue.submissions.claim("s", attempt_id="a", owner_id="o", lease_expires_at=1), Submission | None)
    assert_type(await flue.submissions.claim_next(owner_id="o", agents=["x"], limit=2), list[Submission])
    assert_type(await flue.submissions.complete(attempt), bool)
    assert_type(await flue.conversations.acquire_producer("p", "me"), ProducerClaim)
    assert_type(await flue.conversations.read("p", offset="-1"), StreamPage)
    assert_type(await flue.attachments.get("p", "a", "c"), Attachment | None)
    assert_type(await flue.dispatch("agent", id="1", message="hello"), DispatchReceipt)
    assert_type(await flue.wait("s", timeout=1.5), Outcome)
    async with flue.begin() as unit:
        assert_type(unit, AsyncUnit)
        assert_type(await unit.submissions.complete(attempt), bool)
    await flue.submissions.get(3)  # type: ignore[arg-type]
    await flue.submissions.claim("s")  # type: ignore[call-arg]


async def _count(words: list[str]) -> int:
    return len(words)


async def handler(ctx: Context) -> None:
    assert_type(await ctx.step("split", str.split, "a b"), list[str])
    assert_type(await ctx.step("count", _count, ["a"]), int)
    assert_type(await ctx.joins(), list[Delivery])
    await ctx.step("split", str.split, 3)  # type: ignore[call-overload]


def blocking_handler(ctx: BlockingContext) -> None:
    assert_type(ctx.step("split", str.split, "a b"), list[str])
    assert_type(ctx.artifacts.put(b"", name="n"), Artifact)


def settings() -> None:
    assert_type(FlueSettings(migrate="verify").migrate, str)  # type: ignore[assert-type]
    FlueSettings(no_such_setting=1)  # type: ignore[call-arg]
