"""Rows that nobody should have written."""

from __future__ import annotations

import pytest

from flue_sqla import Flue
from tests.databases.contract import Database
from tests.submissions.inputs import admit_ready, dispatch


def test_a_row_whose_payload_is_no_object_is_a_conflict_for_its_own_admission(flue: Flue, migrated: Database) -> None:
    admit_ready(flue, "one")
    migrated.admin_execute("UPDATE flue_agent_submissions SET payload = '[]'")
    assert flue.submissions.admit_dispatch(dispatch("one")).kind == "conflict"


@pytest.mark.databases("sqlite")
def test_a_payload_that_is_not_even_text_does_not_block_the_scan(flue: Flue, migrated: Database) -> None:
    admit_ready(flue, "one")
    migrated.admin_execute("UPDATE flue_agent_submissions SET payload = x'00ff'")
    assert flue.submissions.list_runnable() == []
    assert not flue.submissions.has_unsettled()
