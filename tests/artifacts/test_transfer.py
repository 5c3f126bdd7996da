"""Moving everything to another store: verified, resumable, and switched only when all bytes are there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flue_sqla import Flue
from flue_sqla.artifacts import StoreOptions
from flue_sqla.artifacts.factory import blocking_store
from flue_sqla.errors import ArtifactIntegrityError, ArtifactStoreError, ConfigurationError, InvalidInputError
from flue_sqla.repositories.artifacts import ArtifactRows
from tests.artifacts.conftest import content, s3_options, stored_keys
from tests.artifacts.crash import MOST_STEPS, flue_on, killed_at

pytestmark = pytest.mark.databases("sqlite")
MIB = 1024 * 1024


@pytest.fixture
def source(tmp_path: Path) -> StoreOptions:
    return StoreOptions(url=str(tmp_path / "old"))


@pytest.fixture(params=["folder", pytest.param("s3fs", marks=pytest.mark.stores), pytest.param("obstore", marks=pytest.mark.stores)])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> StoreOptions:
    if request.param == "folder":
        return StoreOptions(url=str(tmp_path / "new"))
    return s3_options(request.getfixturevalue("seaweedfs"), request.param)


@pytest.fixture
def make(migrated: Any) -> Callable[[StoreOptions], Flue]:
    def made(options: StoreOptions) -> Flue:
        return flue_on(migrated.url, options)

    return made


def fill(flue: Flue) -> dict[str, bytes]:
    """Artifacts of several tenants and sizes, by id."""
    sizes = [0, 1, 10_000, 6 * MIB, 100, 11 * MIB + 1, 5]
    stored = {}
    for number, size in enumerate(sizes):
        data = os.urandom(size)
        stored[flue.artifacts.put(data, name=str(number), tenant="default", content_type="text/plain").id] = data
    return stored


def test_a_store_that_fails_is_told_from_the_other(make: Any, source: StoreOptions, tmp_path: Path) -> None:
    with make(source) as flue:
        artifact = flue.artifacts.put(b"x", name="x")
        (tmp_path / "file").write_bytes(b"no folder")
        with pytest.raises(ArtifactStoreError) as refused:
            flue.artifacts.transfer(source, StoreOptions(url=str(tmp_path / "file")))
        assert refused.value.meta["side"] == "target"
        (tmp_path / "old" / artifact.storage_key).unlink()
        with pytest.raises(ArtifactStoreError) as lost:
            flue.artifacts.transfer(source, StoreOptions(url=str(tmp_path / "new")))
        assert lost.value.meta["side"] == "source"


def test_everything_moves_and_the_old_bytes_stay(make: Any, source: StoreOptions, target: StoreOptions) -> None:
    with make(source) as old, make(target) as new:
        stored = fill(old)
        keys = stored_keys(source)
        seen: list[int] = []

        dry = old.artifacts.transfer(source, target, dry_run=True)
        assert (dry.artifacts, dry.copied, dry.copied_bytes, dry.switched) == (
            len(stored),
            len(stored),
            sum(map(len, stored.values())),
            False,
        )
        assert stored_keys(target) == set()

        report = old.artifacts.transfer(source, target, progress=lambda so_far: seen.append(so_far.artifacts))
        assert report == dry.model_copy(update={"switched": True})
        assert seen == list(range(1, len(stored) + 1))
        assert stored_keys(target) == keys == stored_keys(source)

        for artifact_id, data in stored.items():
            assert new.artifacts.read_range(artifact_id, 0) == data
            for refused in (lambda an_id=artifact_id: old.artifacts.open(an_id), lambda an_id=artifact_id: old.artifacts.delete(an_id)):
                with pytest.raises(ArtifactStoreError) as caught:
                    refused()
                assert caught.value.meta["reason"] == "moved"
                assert "FLUE_ARTIFACTS" in caught.value.remedy
        assert new.artifacts.verify().ok
        assert {found.id: found.reason for found in old.artifacts.verify().findings} == dict.fromkeys(stored, "moved")
        assert new.artifacts.sweep(grace_ms=-60_000, repair=True).clean
        assert old.artifacts.sweep(grace_ms=-60_000, repair=True).clean, "what moved away is neither lost nor orphaned"
        assert stored_keys(source) == keys

        late = old.artifacts.put(b"put by a process that still has the old store", name="late")
        again = old.artifacts.transfer(source, target)
        assert (again.artifacts, again.copied, again.present) == (1, 1, 0)
        assert content(new.artifacts, new.artifacts.get(late.id))
        assert new.artifacts.delete(late.id)

        back = new.artifacts.transfer(target, source)
        assert (back.artifacts, back.present, back.switched) == (len(stored), len(stored), True)
        assert old.artifacts.verify().ok


def test_what_is_there_already_is_recognised_by_its_digest(make: Any, source: StoreOptions, target: StoreOptions) -> None:
    with make(source) as old:
        stored = fill(old)
        keys = {artifact.id: artifact.storage_key for artifact in old.artifacts.list().artifacts}
        ids = list(stored)
        store = blocking_store(target)
        for artifact_id, data in [(ids[2], stored[ids[2]]), (ids[4], b"x" * len(stored[ids[4]]))]:
            upload = store.begin(keys[artifact_id])
            upload.send(data)
            upload.complete()
        store.close()
        report = old.artifacts.transfer(source, target)
        assert (report.copied, report.present) == (len(stored) - 1, 1), "equal size and other bytes are copied again"
    with make(target) as new:
        assert new.artifacts.verify().ok


def test_damage_in_the_source_switches_nothing(make: Any, source: StoreOptions, target: StoreOptions) -> None:
    with make(source) as old, make(target) as new:
        stored = fill(old)
        damaged = old.artifacts.get(list(stored)[3])
        path = source.folder / damaged.storage_key
        path.write_bytes(b"!" * damaged.size)
        with pytest.raises(ArtifactIntegrityError):
            old.artifacts.transfer(source, target)
        assert damaged.storage_key not in stored_keys(target)
        path.unlink()
        with pytest.raises(ArtifactStoreError):
            old.artifacts.transfer(source, target)
        for artifact_id, data in stored.items():
            if artifact_id != damaged.id:
                assert old.artifacts.read_range(artifact_id, 0) == data, "still at the old place"
        old.artifacts.delete(damaged.id)
        assert old.artifacts.transfer(source, target).switched
        assert new.artifacts.verify().ok


def test_what_is_put_while_it_runs_is_copied_before_the_switch(make: Any, source: StoreOptions, tmp_path: Path) -> None:
    target = StoreOptions(url=str(tmp_path / "new"))
    with make(source) as old, make(target) as new:
        fill(old)
        late: list[str] = []

        def put_more(report: Any) -> None:
            if len(late) < 3:
                late.append(old.artifacts.put(b"late", name="late").id)

        report = old.artifacts.transfer(source, target, progress=put_more)
        assert report.artifacts == 10
        assert all(new.artifacts.read_range(artifact_id, 0) == b"late" for artifact_id in late)


def test_one_store_cannot_move_to_itself(make: Any, source: StoreOptions) -> None:
    with make(source) as flue:
        with pytest.raises(ConfigurationError):
            flue.artifacts.transfer(source, replace(source, concurrency=2))
        with pytest.raises(InvalidInputError), flue.begin() as unit:
            unit.artifacts.transfer(source, source)


@pytest.mark.faults
def test_a_transfer_that_is_killed_is_finished_by_the_next(make: Any, migrated: Any, source: StoreOptions, target: StoreOptions) -> None:
    with make(source) as old, make(target) as new:
        data = {old.artifacts.put(os.urandom(size), name="x").id: size for size in (10, 6 * MIB, 20)}
        for step in range(1, MOST_STEPS):
            came_through = killed_at(step, move, migrated.url, source, target)
            rows = old.artifacts.list().artifacts
            assert {row.id: row.size for row in rows} == data
            switched = {row.store is not None for row in rows}
            assert len(switched) == 1, "all rows or none"
            assert (new if switched.pop() else old).artifacts.verify().ok
            assert old.artifacts.transfer(source, target).switched
            assert new.artifacts.verify().ok
            assert stored_keys(source) == {row.storage_key for row in rows}, "the old bytes stay"
            # Back to the start for the next step.
            ArtifactRows(new._scope).relabel(data, None)
            for row in rows:
                new._stores.blocking().delete(row.storage_key)
            if came_through:
                assert step > 10, "the steps are there"
                return
    pytest.fail("the transfer has more steps than expected")


def move(url: str, source: StoreOptions, target: StoreOptions) -> None:
    with flue_on(url, source) as flue:
        flue.artifacts.transfer(source, target, at_once=1)
