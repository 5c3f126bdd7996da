"""How long a call goes on trying while the database cannot serve it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from flue_sqla import Flue, transactions
from flue_sqla.errors import SerializationConflict
from tests.submissions.inputs import direct

pytestmark = pytest.mark.databases("sqlite")


class Time:
    """Stands in for the module ``time``: nothing passes but what the test lets pass, and sleeping takes no time."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("seconds", "tries"),
    [(0, 10), (5, 10), (19, 4), (29, 3), (61, 1)],
    ids=lambda value: str(value),
)
def test_no_further_try_begins_after_a_minute(flue: Flue, monkeypatch: pytest.MonkeyPatch, seconds: int, tries: int) -> None:
    """Each try waits for another writer's lock, as long as the database lets it: ten of them could take many minutes."""
    passing, waited = Time(), []
    monkeypatch.setattr(transactions, "time", passing)

    def wait(connection: Any, *_: Any) -> None:
        connection.execute("PRAGMA busy_timeout=0")  # the time that the lock takes is told, not spent
        waited.append(seconds)
        passing.now += seconds

    with flue.engine.connect() as other, other.begin():
        event.listen(flue.engine, "checkout", wait)
        with pytest.raises(SerializationConflict, match="database is locked"):
            flue.submissions.admit_direct(direct("one"))
    assert waited == [seconds] * tries
    assert flue.submissions.get("one") is None
    assert flue.submissions.admit_direct(direct("one")).status == "queued"
