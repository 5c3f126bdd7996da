"""Eight processes append to one stream and to many while one closes: no gap that a reader steps over, nothing after the close."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from flue_sqla import Flue
from flue_sqla.errors import StreamClosedError
from tests.databases.contract import Database

PROCESSES = 8
EVENTS = int(os.environ.get("FLUE_TEST_EVENTS", "60"))
SHARED = "runs/run_shared"


def write(url: str, number: int, start: Any, report: Path) -> None:
    """Append to the shared stream until it is closed, and to one of our own."""
    flue = Flue(url)
    own = f"runs/run_{number}"
    flue.events.create(own)
    acknowledged: list[str] = []
    start.wait()
    try:
        for step in range(100_000):
            acknowledged.append(flue.events.append(SHARED, [number, step]))
            flue.events.append(own, step)
    except StreamClosedError:
        pass
    report.write_text(json.dumps(acknowledged))
    flue.close()


def test_no_gap_and_nothing_after_the_close(migrated: Database, tmp_path: Path) -> None:
    flue = Flue(migrated.url)
    flue.events.create(SHARED)
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(PROCESSES + 1)
    reports = [tmp_path / f"{number}.json" for number in range(PROCESSES)]
    writers = [context.Process(target=write, args=(migrated.url, n, start, reports[n])) for n in range(PROCESSES)]
    for writer in writers:
        writer.start()
    start.wait()
    seen: list[tuple[str, Any]] = []
    offset, closed = "-1", False
    # The reader goes on from page to page while the others write; what it stepped over it would never see.
    while not closed:
        page = flue.events.read(SHARED, offset=offset, limit=7)
        seen += [(event.offset, event.data) for event in page.events]
        offset, closed = page.next_offset, page.closed and page.up_to_date
        if len(seen) >= EVENTS * PROCESSES:
            flue.events.close(SHARED)
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    acknowledged = {offset for report in reports for offset in json.loads(report.read_text())}
    assert [offset for offset, _ in seen] == sorted(acknowledged), "every acknowledged event was seen once, in order, and no other"
    for number in range(PROCESSES):
        mine = [step for _, (writer, step) in seen if writer == number]
        assert mine == list(range(len(mine))), "one process's events keep their order"
        own = flue.events.get_meta(f"runs/run_{number}")
        assert own is not None
        assert not own.closed
    with pytest.raises(StreamClosedError):
        flue.events.append(SHARED, "late")
    flue.close()
