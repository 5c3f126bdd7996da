"""``status``, ``runs``, ``submissions``, ``prune``: what an operator types and sees."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from flue_sqla import Flue
from flue_sqla.testing.clock import ManualClock
from flue_sqla.wire import run_path
from tests.cli.conftest import Call
from tests.databases.contract import Database
from tests.retention.work import DAY, ended_run, settled
from tests.submissions.inputs import direct, dispatch, run


def documents(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


# -- status -------------------------------------------------------------------------------------------------------------------------


def test_status_of_an_empty_store(call: Call) -> None:
    code, out, _ = call("status")
    assert (code, "Nothing is waiting" in out) == (0, True)
    assert documents(call("status", "--json")[1])[0]["agents"] == []


def test_status_tells_what_each_agent_has(store: Flue, call: Call) -> None:
    store.submissions.admit_direct(direct("unready"))
    run(store, "running", instance="agent-2")
    store.submissions.admit_dispatch(dispatch("other", agent="other"))
    store.submissions.mark_ready("other")
    store.submissions.claim("other", attempt_id="a", owner_id="o", lease_expires_at=1)
    settled(store, "settled", instance="agent-9")
    store.runs.create(run_id="run_1", workflow_name="w", started_at="2026-06-01T10:00:00.000Z")
    (document,) = documents(call("status", "--json")[1])
    assistant, other = document["agents"]
    told = [
        (agent["agent"], agent["sessions"], agent["queued"], agent["unready"], agent["running"], agent["expired"])
        for agent in (assistant, other)
    ]
    assert told == [("assistant", 2, 1, 1, 1, 0), ("other", 1, 0, 0, 1, 1)]
    assert (assistant["oldestWaitingAt"], other["oldestWaitingAt"]) == (1_780_444_800_000, None)
    assert (document["activeRuns"], document["oldestActiveRun"]) == (1, "2026-06-01T10:00:00.000Z")
    code, out, _ = call("status")
    assert code == 0
    assert "assistant" in out
    assert "1 active" in out


# -- runs ---------------------------------------------------------------------------------------------------------------------------


def test_runs_are_listed_page_by_page(store: Flue, call: Call) -> None:
    for number in range(3):
        ended_run(store, f"run_{number}")
    (page,) = documents(call("runs", "list", "--limit", "2", "--json")[1])
    assert len(page["runs"]) == 2
    (rest,) = documents(call("runs", "list", "--limit", "2", "--cursor", page["nextCursor"], "--json")[1])
    assert {run["runId"] for run in [*page["runs"], *rest["runs"]]} == {"run_0", "run_1", "run_2"}
    assert "nextCursor" not in rest
    code, out, _ = call("runs", "list", "--status", "completed", "--workflow", "nightly", "--limit", "1")
    assert code == 0
    assert "run_2" in out
    assert "--cursor" in out
    assert documents(call("runs", "list", "--workflow", "other", "--json")[1]) == [{"runs": []}]


@pytest.mark.parametrize(
    "arguments",
    [
        ("runs", "list", "--cursor", "junk"),
        ("runs", "list", "--cursor", ""),
        ("runs", "events", "run_1", "--offset", "junk"),
        ("submissions", "list", "--before", "0"),
        ("submissions", "list", "--before", str(10**30)),
        ("artifacts", "list", "--cursor", "junk"),
        ("artifacts", "verify", "--cursor", "junk"),
        ("artifacts", "sweep", "--grace", str(10**30)),
    ],
    ids=" ".join,
)
def test_a_place_to_go_on_from_that_is_none_is_wrong_usage(store: Flue, call: Call, arguments: tuple[str, ...]) -> None:
    """Rather than the first page once more, or nothing, which looks as if all were well."""
    ended_run(store, "run_1")
    store.events.create(run_path("run_1"))
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert "What to do: " in err


def test_one_run_with_its_events(store: Flue, call: Call) -> None:
    with store.runs.record("nightly", input={"a": 1}) as recorded:
        recorded.emit({"type": "log", "message": "[bold]hello[/]"})
        recorded.result = [1]
    (shown,) = documents(call("runs", "show", recorded.run_id, "--json")[1])
    assert (shown["result"], shown["events"]["closed"]) == ([1], True)
    code, out, _ = call("runs", "show", recorded.run_id)
    assert code == 0
    assert "nightly" in out
    told = documents(call("runs", "events", recorded.run_id, "--json")[1])
    assert [event["data"]["type"] for event in told] == ["run_start", "log", "run_end"]
    followed = documents(call("runs", "events", recorded.run_id, "--follow", "--offset", told[0]["offset"], "--json")[1])
    assert followed == told[1:]
    code, out, _ = call("runs", "events", recorded.run_id)
    assert code == 0
    assert "[bold]hello[/]" in out


def test_a_run_that_is_not_there(call: Call) -> None:
    for what in ("show", "events"):
        code, out, err = call("runs", what, "run_none", "--json")
        assert (code, out) == (1, "")
        assert json.loads(err)["error"]["code"] == "run_missing"


# -- submissions --------------------------------------------------------------------------------------------------------------------


def test_submissions_are_listed_newest_first(store: Flue, call: Call) -> None:
    store.submissions.admit_direct(direct("one"))
    run(store, "two", instance="agent-2")
    store.submissions.admit_dispatch(dispatch("three", agent="other_agent"))
    (page,) = documents(call("submissions", "list", "--limit", "2", "--json")[1])
    assert [each["submissionId"] for each in page["submissions"]] == ["three", "two"]
    (rest,) = documents(call("submissions", "list", "--before", str(page["before"]), "--json")[1])
    assert ([each["submissionId"] for each in rest["submissions"]], rest["before"]) == (["one"], None)
    for options, expected in ((("--status", "running"), ["two"]), (("--agent", "other_agent"), ["three"]), (("--agent", "other%"), [])):
        (found,) = documents(call("submissions", "list", *options, "--json")[1])
        assert [each["submissionId"] for each in found["submissions"]] == expected
    code, out, _ = call("submissions", "list")
    assert code == 0
    assert "other_agent" in out
    assert "not ready" in out


def test_looking_settles_nothing(store: Flue, call: Call, migrated: Database) -> None:
    store.submissions.admit_direct(direct("odd"))
    migrated.admin_execute("UPDATE flue_agent_submissions SET payload = '{}'")
    assert call("submissions", "list")[0] == call("status")[0] == 0
    (found,) = documents(call("submissions", "list", "--json")[1])
    assert found["submissions"][0]["status"] == "queued"
    code, _, err = call("submissions", "show", "odd", "--json")
    assert (code, json.loads(err)["error"]["code"]) == (1, "persisted_row_malformed")


def test_one_submission(store: Flue, call: Call) -> None:
    run(store, "one")
    (shown,) = documents(call("submissions", "show", "one", "--json")[1])
    assert (shown["status"], shown["input"]["message"]["body"]) == ("running", "Hello")
    assert "Hello" in call("submissions", "show", "one")[1]
    assert call("submissions", "show", "none")[0] == 1


def test_an_abort_asks_for_the_whole_session(store: Flue, call: Call) -> None:
    run(store, "head")
    store.submissions.admit_direct(direct("behind"))
    (document,) = documents(call("submissions", "abort", "head", "--json")[1])
    assert document["aborting"] == ["behind", "head"]
    behind = store.submissions.get("behind")
    assert behind is not None
    assert behind.abort_requested_at is not None
    assert call("submissions", "abort", "none")[0] == 1


def test_requeue_waits_for_the_lease_or_is_forced(store: Flue, call: Call) -> None:
    run(store, "held")
    code, out, err = call("submissions", "requeue", "held", "--json")
    assert (code, out) == (1, "")
    assert "held by test-owner" in json.loads(err)["error"]["message"]
    assert documents(call("submissions", "requeue", "held", "--force", "--json")[1]) == [{"requeued": "held"}]
    store.submissions.claim("held", attempt_id="x", owner_id="o", lease_expires_at=1)
    assert call("submissions", "requeue", "held")[0] == 0
    assert call("submissions", "requeue", "held")[0] == 1


# -- prune --------------------------------------------------------------------------------------------------------------------------


def test_prune_from_the_command_line(migrated: Database, call: Call, artifact_url: str) -> None:
    flue = Flue(migrated.url, clock=ManualClock(1_780_444_800_000), artifacts=artifact_url)
    for number in range(3):
        settled(flue, f"old-{number}")
    ended_run(flue, "run_1")
    flue.close()
    assert DAY == 86_400_000
    (told,) = documents(call("prune", "--older-than", "30d", "--keep-last", "1", "--dry-run", "--json")[1])
    assert (told["dryRun"], told["deleted"]["flue_agent_submissions"], told["receipts"]) == (True, 2, 2)
    code, out, _ = call("prune", "--older-than", "4w", "--keep-last", "1")
    assert code == 0
    assert "flue_agent_submissions" in out
    assert "2 receipts left" in out
    assert documents(call("prune", "--older-than", "1s", "--instance", "assistant", "agent-1", "--json")[1])[0]["deleted"]["flue_runs"] == 1
    assert documents(call("submissions", "list", "--json")[1])[0]["submissions"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--older-than", "soon"),
        ("--older-than", "99999999999w"),
        ("--older-than", "9999w"),
        ("--keep-last", "-1"),
        ("--keep-last", str(10**30)),
        ("--instance", "up"),
    ],
)
def test_prune_refuses_what_it_does_not_understand(call: Call, arguments: tuple[str, ...]) -> None:
    code, out, err = call("prune", *arguments)
    assert (code, out) == (2, "")
    assert "What to do: " in err


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-1", "1e300", "soon"])
@pytest.mark.parametrize("what", [("status",), ("submissions", "list")], ids=lambda what: what[0])
def test_a_pause_is_a_number_of_seconds(call: Call, what: tuple[str, ...], seconds: str) -> None:
    code, out, err = call(*what, "--follow", "--interval", seconds)
    assert (code, out) == (2, "")
    assert "--interval" in err


# -- following ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.databases("sqlite")
def test_following_prints_what_changes_until_interrupted(store: Flue, migrated: Database) -> None:
    store.submissions.admit_direct(direct("one"))
    arguments = [sys.executable, "-m", "flue_sqla.cli", "submissions", "list", "--follow", "--interval", "0.1", "--json"]
    environment = {**os.environ, "DATABASE_URL": migrated.url, "PYTHONPATH": os.getcwd()}
    # As from a terminal: a shell that runs the tests in the background lets its children ignore the interrupt.
    process = subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["submissionId"] == "one"
    store.submissions.admit_direct(direct("two"))
    assert json.loads(process.stdout.readline())["submissionId"] == "two"
    store.submissions.settle_queued("one", "failed", "no")
    assert json.loads(process.stdout.readline())["status"] == "settled"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
