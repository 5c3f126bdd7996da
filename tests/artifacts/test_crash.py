"""SIGKILL at every step of put and delete: whatever was acknowledged stays, and one sweep brings store and rows into agreement."""

from __future__ import annotations

import os
from typing import Any

import pytest

from flue_sqla import Flue
from flue_sqla.artifacts import StoreOptions
from flue_sqla.records import Artifact
from tests.artifacts.conftest import S3_PLACES, content, places
from tests.artifacts.crash import MOST_STEPS, flue_on, killed_at

pytestmark = [pytest.mark.faults, pytest.mark.databases("sqlite")]
MIB = 1024 * 1024
SIZES = [100, 12 * MIB]


def put(url: str, options: StoreOptions, data: bytes) -> None:
    with flue_on(url, options) as flue:
        flue.artifacts.put(data, name="killed")


def delete(url: str, options: StoreOptions, artifact_id: str) -> None:
    with flue_on(url, options) as flue:
        flue.artifacts.delete(artifact_id)


def agree(flue: Flue) -> list[Artifact]:
    """Sweep once, and show that every row has its intact bytes and every byte its row."""
    flue.artifacts.sweep(grace_ms=-60_000, repair=True)
    again = flue.artifacts.sweep(grace_ms=-60_000, repair=True)
    assert again.clean
    assert flue._stores.blocking().discard_uploads(2**50) == 0, "no unfinished upload is left"
    artifacts = flue.artifacts.list().artifacts
    assert flue.artifacts.verify().ok
    assert {info.key for info in flue._stores.blocking().list()} == {artifact.storage_key for artifact in artifacts}
    return list(artifacts)


@places("folder", *S3_PLACES)
@pytest.mark.parametrize("size", SIZES)
def test_a_put_that_is_killed_is_whole_or_nothing(migrated: Any, place: StoreOptions, size: int) -> None:
    data = os.urandom(size)
    with flue_on(migrated.url, place) as flue:
        before = flue.artifacts.put(b"acknowledged", name="before")
        for step in range(1, MOST_STEPS):
            came_through = killed_at(step, put, migrated.url, place, data)
            left = agree(flue)
            assert before in left
            killed = [artifact for artifact in left if artifact != before]
            for artifact in killed:
                assert content(flue.artifacts, artifact) == data
                flue.artifacts.delete(artifact.id)
            if came_through:
                assert len(killed) == 1
                assert step > 4, "the steps are there"
                return
    pytest.fail("the put has more steps than expected")


@places("folder", *S3_PLACES)
def test_a_delete_that_is_killed_can_be_finished(migrated: Any, place: StoreOptions) -> None:
    with flue_on(migrated.url, place) as flue:
        kept = flue.artifacts.put(b"acknowledged", name="kept")
        for step in range(1, MOST_STEPS):
            gone = flue.artifacts.put(os.urandom(1000), name="gone")
            came_through = killed_at(step, delete, migrated.url, place, gone.id)
            hidden = flue.artifacts.get(gone.id) is None
            found = flue.artifacts.sweep(grace_ms=-60_000)
            assert found.orphans == [], "bytes that are left have a row that says so: nobody has to list the store"
            assert found.clean or not came_through, "nothing is left to a sweep"
            left = agree(flue)
            assert kept in left
            assert (gone in left) == (not hidden)
            if not hidden:
                flue.artifacts.delete(gone.id)
            if came_through:
                assert hidden, "the deletion was acknowledged"
                assert step > 4, "the steps are there"
                return
    pytest.fail("the delete has more steps than expected")
