"""docs/worker.md lists the events of a worker: all of them, and no others."""

from __future__ import annotations

import re

from tests.docs.programs import DOCS, ROOT


def test_the_guide_lists_every_event() -> None:
    told = {
        name for module in (ROOT / "flue_sqla" / "worker").glob("*.py") for name in re.findall(r"\.event\(\s*\"(\w+)\"", module.read_text())
    }
    table = (DOCS / "worker.md").read_text().partition("| Events | |\n")[2].partition("\n\n")[0]
    listed = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert listed == told
