"""A folder that cannot be used: said with its path and with what to do about a folder, and nothing half-made is left in it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flue_sqla import Flue, FlueSettings
from flue_sqla.artifacts import StoreOptions, local
from flue_sqla.artifacts.factory import blocking_store
from flue_sqla.checks import run_checks
from flue_sqla.errors import ArtifactStoreError
from tests.artifacts.conftest import Bench, places
from tests.artifacts.crash import flue_on
from tests.databases.contract import Database

pytestmark = pytest.mark.databases("sqlite")


@pytest.fixture
def open_on(migrated: Database) -> Iterator[Callable[[Path], Flue]]:
    """A Flue whose artifacts are in the given folder."""
    opened: list[Flue] = []

    def made(folder: Path) -> Flue:
        opened.append(flue_on(migrated.url, StoreOptions(url=str(folder))))
        return opened[-1]

    yield made
    for flue in opened:
        flue.close()


def check(error: ArtifactStoreError, reason: str, folder: Path) -> None:
    """The error says which folder, and what to do about a folder rather than about S3."""
    assert error.meta["reason"] == reason
    assert error.meta["folder"] == str(folder)
    assert str(folder) in str(error)
    assert error.remedy
    assert not [word for word in ("endpoint", "key", "bucket", "network") if word in error.remedy]


def a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"precious")
    return tmp_path / "file"


def below_a_file(tmp_path: Path) -> Path:
    return a_file(tmp_path) / "deep" / "below"


def a_dangling_link(tmp_path: Path) -> Path:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    return tmp_path / "link"


@pytest.mark.parametrize("in_the_way", [a_file, below_a_file, a_dangling_link])
def test_something_else_where_the_folder_should_be(
    open_on: Any, tmp_path: Path, in_the_way: Callable[[Path], Path], caplog: pytest.LogCaptureFixture
) -> None:
    root = in_the_way(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    flue = open_on(root)
    for data in (b"small", os.urandom(6_000_000)):
        with pytest.raises(ArtifactStoreError) as caught:
            flue.artifacts.put(data, name="x")
        check(caught.value, "not_a_folder", root)
    assert "could not be discarded" not in caplog.text, "nothing was begun"
    if in_the_way is not a_dangling_link:
        with pytest.raises(ArtifactStoreError) as caught:
            flue.artifacts.sweep()
        check(caught.value, "not_a_folder", root)
    assert flue.artifacts.list().artifacts == []
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_folder_that_cannot_be_made(open_on: Any) -> None:
    root = Path("/proc/flue-artifacts")
    if not root.parent.is_dir():
        pytest.skip("no /proc here")
    with pytest.raises(ArtifactStoreError) as caught:
        open_on(root).artifacts.put(b"x", name="x")
    check(caught.value, "folder_missing", root)


def test_a_path_that_is_too_long_is_a_finding_of_the_check(migrated: Database, tmp_path: Path) -> None:
    root = tmp_path / ("x" * 300)
    report = run_checks(FlueSettings(database_url=migrated.url, artifacts=str(root)))
    (step,) = [step for step in report.steps if step.name == "store_write"]
    assert str(root) in step.detail
    assert "folder" in step.remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_a_folder_without_rights(open_on: Any, tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir(mode=0o500)
    with pytest.raises(ArtifactStoreError) as caught:
        open_on(root).artifacts.put(b"x", name="x")
    check(caught.value, "denied", root)


def test_a_folder_that_is_gone_is_told_from_a_file_that_is_gone(open_on: Any, tmp_path: Path) -> None:
    root = tmp_path / "store"
    flue = open_on(root)
    artifact = flue.artifacts.put(b"data", name="x")
    root.rename(tmp_path / "unmounted")
    for attempt in (lambda: flue.artifacts.open(artifact.id), lambda: flue.artifacts.read_range(artifact.id, 0, 1)):
        with pytest.raises(ArtifactStoreError) as caught:
            attempt()
        check(caught.value, "folder_missing", root)
    (tmp_path / "unmounted").rename(root)
    (root / artifact.storage_key).unlink()
    with pytest.raises(ArtifactStoreError) as caught:
        flue.artifacts.open(artifact.id)
    check(caught.value, "missing", root)


REASONS = {
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.EROFS: "read_only",
    errno.EACCES: "denied",
    errno.EIO: "failed",
}


@places("folder")
@pytest.mark.parametrize("code", list(REASONS), ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["open", "write", "fsync"])
def test_a_disk_that_fails_while_bytes_are_written(
    face: Any, bench: Bench, place: StoreOptions, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    """At each call on the file and, for fsync, on each of the folders that are flushed after it."""
    kept = face.put(b"kept", name="x")
    real = getattr(os, call)
    for nth in range(1, 10):
        calls = []

        def fail(*arguments: Any, nth: int = nth, calls: list[Any] = calls, **more: Any) -> Any:
            calls.append(arguments)
            if len(calls) == nth:
                raise OSError(code, os.strerror(code))
            return real(*arguments, **more)

        with monkeypatch.context() as broken:
            broken.setattr(local.os, call, fail)
            try:
                face.put(os.urandom(5_000_000), name="x", tenant=f"tenant-{nth}")
            except ArtifactStoreError as error:
                check(error, REASONS[code], place.folder)
            else:
                assert len(calls) < nth
                break
        assert stored_files(place.folder) == {kept.storage_key}, f"{call} number {nth}"
        assert face.list(tenant=f"tenant-{nth}").artifacts == []
    assert nth > 1


def stored_files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_a_relative_folder_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = blocking_store(StoreOptions(url="relative"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.begin("tenant/one").complete()
    assert stored_files(tmp_path) == {"relative/tenant/one"}


def test_another_filesystem_is_named_by_its_scheme_alone(migrated: Database) -> None:
    """It connects as soon as it is made, here to a port where nobody listens; its URL holds a password."""
    from tests.artifacts.proxy import refused_endpoint

    with refused_endpoint() as endpoint:
        options = StoreOptions(url=f"ftp://user:pass-word@{endpoint.removeprefix('http://')}/x")
        with flue_on(migrated.url, options) as flue, pytest.raises(ArtifactStoreError) as caught:
            flue.artifacts.put(b"x", name="x")
    assert caught.value.meta == {"operation": "connect", "key": None, "reason": "unreachable", "scheme": "ftp"}
    assert "ftp://" in caught.value.remedy
    assert "pass-word" not in f"{caught.value!r} {caught.value} {caught.value.remedy} {caught.value.__cause__!r}"


def test_a_sweep_looks_while_an_upload_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = local.LocalStore(tmp_path)
    upload, scan = store.begin("tenant/one"), os.scandir
    upload.send(b"x")

    def then_end(folder: Any) -> Any:
        entries = list(scan(folder))
        upload.abort()
        return iter(entries)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", then_end)
        assert store.discard_uploads(time.time_ns() // 1_000_000 + 60_000) == 0


@places("folder", "fsspec")
def test_a_disk_that_fails_in_the_middle_of_a_file(bench: Bench) -> None:
    artifacts = bench.flue().artifacts
    data = os.urandom(9 * 1024 * 1024)
    artifact = artifacts.put(data, name="x")
    with artifacts.open(artifact.id) as file, open(os.devnull, "wb") as unreadable:
        assert file.read(1000) == data[:1000]
        os.dup2(unreadable.fileno(), file.fileno())
        with pytest.raises(ArtifactStoreError) as caught:
            file.read()
    assert caught.value.meta["operation"] == "read"
    assert caught.value.meta["key"] == artifact.storage_key
