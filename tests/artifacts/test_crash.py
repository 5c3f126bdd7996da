"""SIGKILL at every step of put and delete: whatever was acknowledged stays, and one sweep brings store and rows into agreement."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from flue_sqla import Flue
from flue_sqla.artifacts import StoreOptions
from flue_sqla.artifacts.local import LocalStore, LocalUpload
from flue_sqla.artifacts.s3 import S3Store
from flue_sqla.repositories.artifacts import ArtifactRows
from tests.artifacts.conftest import content, places, stored_keys

pytestmark = [pytest.mark.faults, pytest.mark.databases("sqlite")]
MIB = 1024 * 1024
MOST_STEPS = 40
SIZES = [100, 12 * MIB]


def kill_at(step: int) -> None:
    """Kill this process before or after the ``step``-th call that touches the store or the rows."""
    passed = [0]

    def reach() -> None:
        passed[0] += 1
        if passed[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(owner: type, name: str) -> None:
        method = getattr(owner, name)

        def killed(self: Any, *args: Any, **kwargs: Any) -> Any:
            reach()
            result = method(self, *args, **kwargs)
            reach()
            return result

        async def killed_async(self: Any, *args: Any, **kwargs: Any) -> Any:
            reach()
            result = await method(self, *args, **kwargs)
            reach()
            return result

        setattr(owner, name, killed_async if owner is S3Store else killed)

    for name in ("send", "complete", "_publish"):
        around(LocalUpload, name)
    around(LocalStore, "delete")
    around(S3Store, "_request")
    for name in ("insert", "mark_deleting", "remove"):
        around(ArtifactRows, name)


def in_child(action: Callable[[], None], step: int) -> bool:
    """Run ``action`` in a forked child that is killed at ``step``; True when it came through."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(60)
            kill_at(step)
            action()
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status == 0


@pytest.fixture
def make(migrated: Any, place: StoreOptions) -> Callable[[], Flue]:
    """A new Flue, as a new process would have."""

    def made() -> Flue:
        flue = Flue(migrated.url)
        flue._stores._options = place
        return flue

    return made


def agree(make: Callable[[], Flue], place: StoreOptions) -> list[Any]:
    """Sweep once, and show that every row has its intact bytes and every byte its row."""
    with make() as flue:
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
def test_a_put_that_is_killed_is_whole_or_nothing(make: Callable[[], Flue], place: StoreOptions, size: int) -> None:
    with make() as flue:
        before = flue.artifacts.put(b"acknowledged", name="before")
    data = os.urandom(size)

    def put() -> None:
        with make() as flue:
            flue.artifacts.put(data, name="killed")

    for step in range(1, MOST_STEPS):
        came_through = in_child(put, step)
        left = agree(make, place)
        assert before in left
        with make() as flue:
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
def test_a_delete_that_is_killed_can_be_finished(make: Callable[[], Flue], place: StoreOptions) -> None:
    for step in range(1, MOST_STEPS):
        with make() as flue:
            kept = flue.artifacts.put(b"acknowledged", name="kept")
            gone = flue.artifacts.put(os.urandom(1000), name="gone")

        def delete(artifact_id: str = gone.id) -> None:
            with make() as flue:
                flue.artifacts.delete(artifact_id)

        came_through = in_child(delete, step)
        with make() as flue:
            hidden = flue.artifacts.get(gone.id) is None
        left = agree(make, place)
        assert kept in left
        assert (gone in left) == (not hidden)
        with make() as flue:
            for artifact in left:
                flue.artifacts.delete(artifact.id)
        if came_through:
            assert step > 4, "the steps are there"
            return
    pytest.fail("the delete has more steps than expected")
