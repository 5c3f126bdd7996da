"""SIGKILL at every step of put and delete: whatever was acknowledged stays, and one sweep brings store and rows into agreement."""

from __future__ import annotations

import os
from typing import Any

import pytest

from flue_sqla.artifacts import StoreOptions
from tests.artifacts.conftest import content, places, stored_keys
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


def agree(url: str, place: StoreOptions) -> list[Any]:
    """Sweep once, and show that every row has its intact bytes and every byte its row."""
    with flue_on(url, place) as flue:
        flue.artifacts.sweep(grace_ms=-60_000, repair=True)
        assert flue.artifacts.sweep(grace_ms=-60_000).clean
        artifacts = flue.artifacts.list().artifacts
        assert flue.artifacts.verify().ok
        assert stored_keys(place) == {artifact.storage_key for artifact in artifacts}
        # No unfinished upload is left for a later sweep to discard.
        assert flue.artifacts.sweep(grace_ms=-60_000, repair=True).uploads in (0, None)
    return list(artifacts)


@places("folder", "seaweedfs-s3fs")
@pytest.mark.parametrize("size", SIZES)
def test_a_put_that_is_killed_is_whole_or_nothing(migrated: Any, place: StoreOptions, size: int) -> None:
    url = migrated.url
    with flue_on(url, place) as flue:
        before = flue.artifacts.put(b"acknowledged", name="before")
    data = os.urandom(size)

    for step in range(1, MOST_STEPS):
        came_through = killed_at(step, put, url, place, data)
        left = agree(url, place)
        assert before in left
        with flue_on(url, place) as flue:
            for artifact in left:
                if artifact.name == "killed":
                    assert content(flue.artifacts, artifact) == data
                    flue.artifacts.delete(artifact.id)
                elif came_through:
                    assert len(left) == 2
        if came_through:
            assert step > 4, "the steps are there"
            return
    pytest.fail("the put has more steps than expected")


@places("folder", "seaweedfs-s3fs")
def test_a_delete_that_is_killed_can_be_finished(migrated: Any, place: StoreOptions) -> None:
    url = migrated.url
    for step in range(1, MOST_STEPS):
        with flue_on(url, place) as flue:
            kept = flue.artifacts.put(b"acknowledged", name="kept")
            gone = flue.artifacts.put(os.urandom(1000), name="gone")
        came_through = killed_at(step, delete, url, place, gone.id)
        with flue_on(url, place) as flue:
            hidden = flue.artifacts.get(gone.id) is None
        left = agree(url, place)
        assert kept in left
        assert (gone in left) == (not hidden)
        with flue_on(url, place) as flue:
            for artifact in left:
                flue.artifacts.delete(artifact.id)
        if came_through:
            assert step > 4, "the steps are there"
            return
    pytest.fail("the delete has more steps than expected")
