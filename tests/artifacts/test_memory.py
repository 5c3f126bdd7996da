"""A few parts in memory whatever the size: 96 MiB by default, 2 GiB with FLUE_TEST_LARGE_ARTIFACT=2048 (as `nox -s faults` sets)."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import asdict, replace
from typing import Any

import pytest

from flue_sqla.artifacts import StoreOptions
from tests.artifacts.conftest import Bench, places

MIB = 1024 * 1024
SIZE_MIB = int(os.environ.get("FLUE_TEST_LARGE_ARTIFACT", "96"))
pytestmark = [pytest.mark.databases("sqlite"), pytest.mark.slow, pytest.mark.faults]

# The peak growth of a process's memory in MiB that the contract allows, put and open each.
ALLOWED = {"folder": 32, "seaweedfs-s3fs": 128, "seaweedfs-obstore": 64}

CHILD = """
import hashlib, json, os, sys, threading
from flue_sqla import Flue
from flue_sqla.artifacts import StoreOptions
database, size, given = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
MIB = 1024 * 1024

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

class Peak:
    def __enter__(self):
        self.base = self.most = resident()
        self.end = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self
    def __exit__(self, *_):
        self.end.set()
        self.thread.join()
        self.growth = (self.most - self.base) // MIB
    def watch(self):
        while not self.end.wait(0.002):
            self.most = max(self.most, resident())

flue = Flue(database)
flue._stores._options = StoreOptions(**given)
warm = flue.artifacts.put(os.urandom(MIB), name="warm")
flue.artifacts.open(warm.id).read()

pattern = os.urandom(MIB + 1)  # small: what the source holds would be counted as ours
digest = hashlib.sha256()
def chunks():
    left = size
    while left:
        piece = pattern[: min(left, len(pattern))]
        digest.update(piece)
        left -= len(piece)
        yield bytes(bytearray(piece))

with Peak() as put:
    artifact = flue.artifacts.put(chunks(), name="large")
assert artifact.size == size and artifact.sha256 == digest.hexdigest()
read = 0
with Peak() as opened:
    with flue.artifacts.open(artifact.id, verify=True) as file:
        while data := file.read(MIB):
            read += len(data)
assert read == size
flue.artifacts.delete(artifact.id)
flue.close()
print(json.dumps({"put": put.growth, "open": opened.growth}))
"""


@places("folder", "seaweedfs-s3fs", "seaweedfs-obstore")
@pytest.mark.timeout(900)
def test_memory_is_bounded_whatever_the_size(migrated: Any, place: Any, request: pytest.FixtureRequest) -> None:
    allowed = ALLOWED[request.node.callspec.id.replace("sqlite", "").strip("-")]
    given = {name: value for name, value in asdict(place).items() if name not in ("storage_options", "part_size")}
    command = [sys.executable, "-c", CHILD, migrated.url, str(SIZE_MIB * MIB), json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=880)
    assert done.returncode == 0, done.stderr
    growth = json.loads(done.stdout)
    assert growth["put"] <= allowed
    assert growth["open"] <= allowed


@places("seaweedfs-s3fs")
def test_a_part_on_its_way_is_in_memory_once(bench: Bench, place: StoreOptions) -> None:
    """The client's HTTP library would copy a part to learn how long it is."""
    bench.options = place = replace(place, concurrency=12)
    artifacts = bench.flue().artifacts
    artifacts.put(os.urandom(2 * place.part_size), name="warm")
    piece = os.urandom(MIB)
    tracemalloc.start()
    try:
        artifacts.put((bytes(bytearray(piece)) for _ in range(128)), name="x")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Those in flight, three that are still to be hashed, one that waits, and the next as pieces and as a whole.
    assert peak < (place.concurrency + 6) * place.part_size


def test_the_digest_of_nothing_is_right(memory_flue: Any) -> None:
    assert memory_flue.artifacts.put(b"", name="x").sha256 == hashlib.sha256().hexdigest()
