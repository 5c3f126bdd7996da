"""Processes that acquire one stream from each other and append as fast as they can."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from flue_sqla import Flue
from tests.conversations.streams import PATH
from tests.databases.contract import Database

PROCESSES = 4
ROUNDS = 40
ROOT = Path(__file__).parents[2]


def test_every_acknowledged_batch_is_there_once_and_no_fenced_producer_writes(flue: Flue, migrated: Database) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.conversations.racer", migrated.url, f"racer-{number}", str(ROUNDS)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(PROCESSES)
    ]
    ended = [racer.communicate(timeout=120) for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * PROCESSES, [errors for _, errors in ended]
    acknowledged = sorted(json.loads(line) for output, _ in ended for line in output.splitlines())

    stored = [(batch.offset, batch.records[0]["id"]) for batch in flue.conversations.follow(PATH, idle_timeout_ms=1)]
    assert [(offset, text) for offset, _, _, text in acknowledged] == stored
    assert [offset for offset, _ in stored] == [f"{0:016d}_{seq:016d}" for seq in range(len(stored))]
    epochs = [(epoch, sequence) for _, epoch, sequence, _ in acknowledged]
    assert epochs == sorted(epochs), "a producer wrote after it had been fenced"
    assert len(set(epochs)) == len(epochs)
    meta = flue.conversations.get_meta(PATH)
    assert meta is not None
    assert meta.producer_epoch == PROCESSES * ROUNDS
