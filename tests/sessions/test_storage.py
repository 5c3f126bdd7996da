"""Storage is linear in the text, however often it is saved."""

from __future__ import annotations

import pytest

from benchmarks.sessions import KEY, conversation, document, stored_bytes
from flue_sqla import Flue


@pytest.mark.databases("postgres")
def test_three_hundred_turns_take_at_most_half_as_much_again_as_their_text(flue: Flue) -> None:
    rows = {}
    for turns in (75, 300):
        entries = conversation(turns, 230_000 * turns // 300)
        for turn in range(10, turns + 1, 5):
            flue.sessions.save(KEY, document(entries[:turn]))
        rows[turns] = stored_bytes(flue)[0]
        assert rows[turns] <= 1.5 * sum(len(entry["message"]["content"]) for entry in entries)
        flue.sessions.delete(KEY)
    assert 3.9 <= rows[300] / rows[75] <= 4.1
