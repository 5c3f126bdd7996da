"""After years of use, every hot operation still reads only what it returns, by the index meant for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from flue_sqla import Attempt, Flue
from tests.databases.servers import Servers
from tests.plans.ballast import fill
from tests.plans.cost import Meter, meter
from tests.submissions.inputs import FAR_AWAY, admit_ready, direct, run

LONG = "agents/assistant/long"


class Aged(NamedTuple):
    """A Flue over a large database, what its statements cost, and how many pages, rows or hundred instructions are few there.

    ``enough`` is for a search for work. MariaDB has no partial index and does not jump from group to group of one: it reads the index
    entries of what is queued for the agent, here 35,000, but no row of them.
    """

    flue: Flue
    meter: Meter
    few: int
    enough: int


@pytest.fixture(scope="module")
def aged(servers: Servers, database_name: str) -> Iterator[Aged]:
    database = servers.create_database(database_name, migrated=True)
    flue = Flue(database.url)
    fill(flue)
    run(flue, "running", instance="live")
    few, enough = {"postgres": (120, 2_000), "sqlite": (40, 300)}.get(database.name, (120, 80_000))
    yield Aged(flue, meter(flue.engine), few, enough)
    flue.close()
    database.remove()


LIVE = Attempt(submission_id="running", attempt_id="attempt-1")
FENCE = {"producer_id": "owner", "producer_epoch": 1, "incarnation": "inc_long"}

OPERATIONS: dict[str, Callable[[Flue], Any]] = {
    "admit": lambda f: f.submissions.admit_direct(direct("new", instance="new")),
    "mark_ready": lambda f: f.submissions.mark_ready("new"),
    "get": lambda f: f.submissions.get("settled-100000"),
    "claim of a head": lambda f: f.submissions.claim("new", attempt_id="a", owner_id="o", lease_expires_at=FAR_AWAY),
    "claim behind a long queue": lambda f: (
        f.submissions.claim("busy-14999", attempt_id="a", owner_id="o", lease_expires_at=FAR_AWAY) is None
    ),
    "mark_input_applied": lambda f: f.submissions.mark_input_applied(LIVE),
    "renew_leases": lambda f: f.submissions.renew_leases("test-owner", ["running"]) or True,
    "list_running": lambda f: f.submissions.list_running(),
    "list_expired": lambda f: f.submissions.list_expired() == [],
    "list_joined": lambda f: f.submissions.list_joined("running") == [],
    "list_pending_settlements": lambda f: f.submissions.list_pending_settlements() == [],
    "repair_joins": lambda f: f.submissions.repair_joins() == 0,
    "has_unsettled": lambda f: f.submissions.has_unsettled(),
    "reserve_settlement": lambda f: f.submissions.reserve_settlement(LIVE, "r", {"id": "r", "outcome": "completed"}),
    "finalize_settlement": lambda f: f.submissions.finalize_settlement(LIVE, "r"),
    "append": lambda f: f.conversations.append(LONG, **FENCE, producer_sequence=50_000, records=[{"id": "next"}]),
    "read at the end": lambda f: f.conversations.read(LONG, offset="0000000000000000_0000000000049990").batches,
    "get_meta": lambda f: f.conversations.get_meta(LONG),
}


def test_hot_operations_read_only_what_they_need(aged: Aged) -> None:
    spent = {}
    for name, operation in OPERATIONS.items():
        with aged.meter.spent() as measured:
            assert operation(aged.flue), name
        spent[name] = measured
    assert {name: s.full_scans for name, s in spent.items() if s.full_scans} == {}
    assert {name: s.cost for name, s in spent.items() if s.cost > aged.few} == {}


def test_claim_next_does_not_read_what_is_queued_behind_busy_heads_or_for_others(aged: Aged) -> None:
    claim(aged.flue, "busy-0")
    for n in range(3):
        admit_ready(aged.flue, f"free-{n}", instance=f"zz-free-{n}")
    with aged.meter.spent() as searched:
        first = aged.flue.submissions.claim_next(owner_id="o", agents=["assistant"], limit=1)
    with aged.meter.spent() as walked_on:
        second = aged.flue.submissions.claim_next(owner_id="o", agents=["assistant"], limit=1)
    assert [s.submission_id for s in (*first, *second)] == ["free-0", "free-1"]
    assert searched.full_scans == walked_on.full_scans == set()
    assert "flue_agent_submissions_queued_lane_idx" in searched.indexes
    # Two busy or waiting sessions lie before the free ones, with 15,000 rows in one; the second search goes on from there.
    assert max(searched.cost, walked_on.cost) < aged.enough


def claim(flue: Flue, submission_id: str) -> None:
    assert flue.submissions.claim(submission_id, attempt_id=f"a-{submission_id}", owner_id="o", lease_expires_at=FAR_AWAY)
