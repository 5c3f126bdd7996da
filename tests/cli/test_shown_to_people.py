"""What the tables say: whole ids, times with their zone, outcomes, and words where there is nothing to list."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from flue_sqla import Flue
from tests.cli.conftest import Call
from tests.submissions.inputs import dispatch
from tests.worker.support import TIMEOUT, working


def test_a_listing_in_a_pipe_has_one_line_per_submission(store: Flue, call: Call) -> None:
    name = f"sub_ik_{'0' * 32}"
    store.submissions.admit_dispatch(dispatch(name))
    store.submissions.mark_ready(name)
    store.submissions.claim(name, attempt_id="attempt_1", owner_id=f"owner_{'0' * 26}", lease_expires_at=1_780_444_800_000)
    (line,) = [line for line in call("submissions", "list")[1].splitlines() if name in line]
    assert f"owner_{'0' * 26}" in line
    assert "2026-06-03 00:00:00Z" in line


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("submissions", "list"), "No submissions."),
        (("runs", "list"), "No runs."),
        (("artifacts", "list", "--tenant", "acme"), "No artifacts of tenant 'acme'."),
        (("artifacts", "sweep"), "Store and rows agree."),
    ],
)
def test_where_there_is_nothing_a_line_says_so(call: Call, command: tuple[str, ...], said: str) -> None:
    assert call(*command) == (0, f"{said}\n", "")


async def test_a_submission_that_has_ended_is_shown_with_its_outcome(store: Flue, call: Call) -> None:
    async def answer(ctx: object) -> dict[str, int]:
        return {"apples": 2}

    async def fail(ctx: object) -> None:
        raise ValueError("no apples")

    async with working(store, {"answer": answer, "fail": fail}):
        good, bad = (store.dispatch(agent, id="1", message="?").submission_id for agent in ("answer", "fail"))
        waiting = store.dispatch("nobody", id="1", message="?").submission_id
        for name in (good, bad):
            await asyncio.to_thread(store.wait, name, TIMEOUT)
    shown = [json.loads(call("submissions", "show", name, "--json")[1]) for name in (good, bad, waiting)]
    assert [(each["status"], each.get("outcome"), each.get("result")) for each in shown] == [
        ("settled", "completed", {"apples": 2}),
        ("settled", "failed", None),
        ("queued", None, None),
    ]
    assert '{"apples": 2}' in call("submissions", "show", good)[1]


def test_a_sweep_asks_whether_it_is_the_right_store(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repairing rows without bytes forgets them, and the likeliest reason that none has its bytes is a wrong setting."""
    (tmp_path / "file").write_bytes(b"bytes")
    assert call("artifacts", "put", str(tmp_path / "file"))[0] == 0
    monkeypatch.setenv("FLUE_ARTIFACTS", "memory://another")
    code, out, _ = call("artifacts", "sweep", "--grace", "0")
    assert code == 1
    assert "does FLUE_ARTIFACTS name the store" in out
    assert "does FLUE_ARTIFACTS" not in call("artifacts", "sweep", "--grace", "0", "--repair")[1]
