"""What lies in the store and was not put there by us: never deleted, never followed, never in the way."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from flue_sqla.artifacts import StoreOptions
from flue_sqla.artifacts.keys import is_storage_key, storage_key
from flue_sqla.errors import ArtifactStoreError
from flue_sqla.wire import new_id
from tests.artifacts.conftest import S3_PLACES, Bench, content, places

pytestmark = pytest.mark.databases("sqlite")
ANY_AGE = -60_000
ART = "art_01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.mark.parametrize("tenant", ["default", "../..", "ÄÖ\U0001f600", "\U0001f600" * 255, "x" * 255, " ", "_z"])
def test_every_key_of_a_put_is_recognised(tenant: str) -> None:
    assert is_storage_key(storage_key(tenant, new_id("art")))


@pytest.mark.parametrize(
    "key",
    [
        "README",
        "",
        "default/",
        "default/art_1",
        f"{ART}",
        f"/{ART}",
        f"a b/{ART}",
        f"x/default/{ART}",
        f"default/{ART}.bak",
        f"default/{ART}\n",
        f"default/{ART.lower()}",
        "default/art_9" + ART[5:],
    ],
)
def test_no_other_is(key: str) -> None:
    assert not is_storage_key(key)


def litter(root: Path, outside: Path, tenant: str) -> None:
    """Everything that people and systems leave in folders; ``outside`` holds what the links lead to."""
    orphan = new_id("art")
    (outside / tenant).mkdir(parents=True)
    (outside / tenant / orphan).write_bytes(b"outside")
    for path in (
        "README.txt",
        "README",
        ".hidden",
        f"{tenant}/.nfs0001",
        f"{tenant}/notes",
        f"{tenant}/{orphan}~",
        "lost+found/x",
        "a b/c",
    ):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(b"foreign")
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / orphan).write_bytes(b"foreign")
    (root / ".git").mkdir()
    (root / ".git" / orphan).write_bytes(b"foreign")
    (root / ".incoming" / "notes").write_bytes(b"foreign")
    (root / ".incoming" / "folder").mkdir()
    (root / tenant / new_id("art")).symlink_to(outside / tenant / orphan)
    (root / "linked").symlink_to(outside / tenant)
    (root / tenant / new_id("art")).mkdir()
    os.mkfifo(root / tenant / new_id("art"))
    (root / os.fsdecode(b"not-\xff-utf8")).write_bytes(b"foreign")


def tree(root: Path) -> dict[str, Any]:
    """Everything below ``root`` and what it is."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        found[str(path)] = path.read_bytes() if stat.S_ISREG(mode) else (stat.S_IFMT(mode), path.is_symlink() and os.readlink(path))
    return found


@places("folder")
def test_a_sweep_touches_nothing_foreign_in_a_folder(face: Any, place: StoreOptions, tmp_path: Path) -> None:
    kept = face.put(b"kept", name="x")
    litter(place.folder, tmp_path / "outside", "default")
    for path in (place.folder, tmp_path / "outside"):
        for found in path.rglob("*"):
            os.utime(found, (1, 1), follow_symlinks=False)
    before = tree(tmp_path)

    for repair in (False, True):
        report = face.sweep(grace_ms=ANY_AGE, repair=repair)
        assert report.clean
        assert report.foreign > 4
        assert report.uploads == (0 if repair else None)
    report = face.verify()
    assert (report.checked, report.ok) == (1, True)
    assert {path: what for path, what in tree(tmp_path).items() if "flue.db" not in path} == before
    assert content(face, kept) == b"kept"


@places("folder")
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/hostname", path)], ids=["pipe", "folder", "link"])
def test_what_replaced_an_artifact_is_neither_read_nor_waited_for(face: Any, place: StoreOptions, make: Any) -> None:
    artifact = face.put(b"data", name="x")
    path = place.folder / artifact.storage_key
    path.unlink()
    make(path)
    for attempt in (lambda: face.open(artifact.id), lambda: face.read_range(artifact.id, 0, 4)):
        with pytest.raises(ArtifactStoreError):
            attempt()
    (finding,) = face.verify().findings
    assert finding.reason == "missing"
    assert os.path.lexists(path)


@places(*S3_PLACES)
def test_a_sweep_touches_nothing_foreign_in_a_shared_bucket(bench: Bench, place: StoreOptions, seaweedfs: Any) -> None:
    """A bucket without a prefix of ours: other people's objects, and an upload that one of them has not finished."""
    bench.options = StoreOptions(**{**{name: getattr(place, name) for name in place.__slots__}, "url": f"s3://{seaweedfs.bucket}"})
    flue = bench.flue()
    client = seaweedfs.client()
    keys = ["README.txt", "backup", "theirs/data", f"a b/{new_id('art')}", f"deep/er/{new_id('art')}", f"default/{new_id('art')}.bak"]
    for key in keys:
        client.put_object(Bucket=seaweedfs.bucket, Key=key, Body=b"foreign")
    client.create_multipart_upload(Bucket=seaweedfs.bucket, Key="theirs/large")
    ours = storage_key("default", new_id("art"))
    client.put_object(Bucket=seaweedfs.bucket, Key=ours, Body=b"an orphan")
    kept = flue.artifacts.put(b"kept", name="x")

    report = flue.artifacts.sweep(grace_ms=ANY_AGE, repair=True)
    assert (report.orphans, report.foreign, report.missing) == ([ours], len(keys), [])
    assert seaweedfs.keys() == sorted([*keys, kept.storage_key])
    (upload,) = client.list_multipart_uploads(Bucket=seaweedfs.bucket)["Uploads"]
    assert upload["Key"] == "theirs/large"
