"""Sixteen processes boot one empty database at once; and again, with the migrating one killed in the middle."""

from __future__ import annotations

import random

import pytest

from tests.databases.contract import Database
from tests.schema import booting
from tests.schema.catalogs import catalog, stamps

PROCESSES = 16

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def changes() -> dict[str, int]:
    """How many changing statements a migration sends, by database; filled on first use."""
    return {}


def _expected(database: Database, changes: dict[str, int]) -> dict[str, object]:
    """The catalog that one undisturbed boot makes."""
    own = database.sibling()
    alone = booting.start(own.url)
    alone.go()
    kind, previous, count = alone.expect("done")
    assert (kind, previous) == ("current", "empty")
    changes[database.name] = count
    return catalog(own)


def test_sixteen_boot_at_once(database: Database, fault_repeats: int, changes: dict[str, int]) -> None:
    expected = _expected(database, changes)
    for _ in range(fault_repeats):
        fresh = database.sibling()
        processes = [booting.start(fresh.url) for _ in range(PROCESSES)]
        for process in processes:
            process.go()
        outcomes = [process.expect("done") for process in processes]
        assert [kind for kind, _, _ in outcomes] == ["current"] * PROCESSES
        assert [previous for _, previous, _ in outcomes if previous is not None] == ["empty"], "exactly one migrates"
        assert catalog(fresh) == expected


def test_the_rest_finish_what_a_killed_process_began(database: Database, fault_repeats: int, changes: dict[str, int]) -> None:
    expected = _expected(database, changes)
    for repeat in range(fault_repeats):
        fresh = database.sibling()
        stop_before = random.Random(repeat).randint(1, changes[database.name])
        victim = booting.start(fresh.url, stop_before=stop_before)
        victim.go()
        victim.expect("stopped")
        rest = [booting.start(fresh.url) for _ in range(PROCESSES - 1)]
        for process in rest:
            process.go()
        assert not any(process.pipe.poll(0.05) for process in rest), "nobody gets past a migration in progress"
        victim.kill()
        outcomes = [process.expect("done") for process in rest]
        assert [kind for kind, _, _ in outcomes] == ["current"] * (PROCESSES - 1)
        assert sum(previous is not None for _, previous, _ in outcomes) == 1, f"stopped before change {stop_before}"
        assert catalog(fresh) == expected
        assert "flue_sqla_adopted" not in stamps(fresh), "our own leftovers are not a Flue server's"


def test_killed_before_each_statement(database: Database, fault_repeats: int, changes: dict[str, int]) -> None:
    """One death before every single statement of the migration (in a short run before each seventh); the next boot finishes it."""
    expected = _expected(database, changes)
    for stop_before in range(1, changes[database.name] + 1, 1 if fault_repeats >= 20 else 7):
        fresh = database.sibling()
        victim = booting.start(fresh.url, stop_before=stop_before)
        victim.go()
        (statement,) = victim.expect("stopped")
        victim.kill()
        heir = booting.start(fresh.url)
        heir.go()
        kind, previous, _ = heir.expect("done")
        assert kind == "current"
        allowed = {"empty", "behind", "partial"} if database.name == "mariadb" else {"empty"}
        assert previous in allowed, f"killed before {statement}"
        assert catalog(fresh) == expected, f"killed before {statement}"
