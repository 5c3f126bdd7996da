"""The bytes of artifacts inside a snapshot: each digest once, verified on both ways, before the rows on the way in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flue_sqla import Flue, snapshot
from flue_sqla.errors import ArtifactStoreError, SnapshotConflictError, SnapshotError
from flue_sqla.snapshot.reader import Blob
from tests.databases.contract import Database
from tests.databases.stores import S3Store
from tests.snapshot import samples
from tests.snapshot.files import SnapshotFile

LARGE = bytes(range(256)) * 40_000


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Flue]:
    """Four artifacts in a store of their own, two of them with the same bytes, one of another tenant."""
    flue = Flue("sqlite:///:memory:", artifacts=str(tmp_path / "filled"))
    flue.boot()
    flue.artifacts.put(LARGE, name="large.bin")
    flue.artifacts.put(b"same", name="one.txt")
    flue.artifacts.put(b"same", name="../two.txt", tenant="tenant/b")
    flue.artifacts.put(b"", name="empty")
    yield flue
    flue.close()


@pytest.fixture
def taken(filled: Flue, tmp_path: Path) -> Path:
    snapshot.export(filled, tmp_path / "a.snap", blobs=True)
    return tmp_path / "a.snap"


def objects(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_each_digest_is_in_the_file_once(taken: Path) -> None:
    info = snapshot.inspect(taken)
    assert (info.blobs, info.blob_bytes) == (3, len(LARGE) + 4)
    assert SnapshotFile.read(taken).blobs == {samples.sha256(data): data for data in sorted((LARGE, b"same", b""), key=samples.sha256)}


def test_bytes_and_rows_arrive_in_another_store(flue: Flue, filled: Flue, taken: Path, tmp_path: Path) -> None:
    report = snapshot.load(flue, taken)
    assert (report.blobs_stored, report.blobs_present) == (4, 0)
    for tenant in ("default", "tenant/b"):
        for artifact in filled.artifacts.list(tenant=tenant).artifacts:
            with flue.artifacts.open(artifact.id, tenant=tenant, verify=True) as file:
                assert samples.sha256(file.read()) == artifact.sha256
    snapshot.export(flue, tmp_path / "b.snap", blobs=True)
    assert (tmp_path / "b.snap").read_bytes() == taken.read_bytes()


def test_a_second_import_finds_the_bytes_there(flue: Flue, taken: Path) -> None:
    snapshot.load(flue, taken)
    report = snapshot.load(flue, taken, mode="merge")
    assert (report.blobs_stored, report.blobs_present, report.inserted) == (0, 4, 0)


@pytest.mark.stores
@pytest.mark.databases("sqlite")
def test_into_s3(migrated: Database, seaweedfs: S3Store, taken: Path, tmp_path: Path) -> None:
    from flue_sqla.settings import FlueSettings

    flue = Flue(migrated.url, settings=FlueSettings(**seaweedfs.settings()))
    assert snapshot.load(flue, taken).blobs_stored == 4
    assert len(seaweedfs.keys()) == 4
    snapshot.export(flue, tmp_path / "b.snap", blobs=True)
    assert (tmp_path / "b.snap").read_bytes() == taken.read_bytes()
    flue.close()


def test_a_refused_import_uploads_nothing(migrated: Database, taken: Path, tmp_path: Path) -> None:
    flue = Flue(migrated.url, artifacts=str(tmp_path / "elsewhere"))
    samples.insert(flue.engine, {"flue_runs": samples.small()["flue_runs"]})
    with pytest.raises(SnapshotConflictError, match="not empty"):
        snapshot.load(flue, taken)
    flue.close()
    assert not (tmp_path / "elsewhere").exists() or objects(tmp_path / "elsewhere") == {}


def test_rows_that_are_refused_after_the_upload_take_their_bytes_back(
    migrated: Database, taken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flue = Flue(migrated.url, artifacts=str(tmp_path / "elsewhere"))
    calls = []

    def occupied_meanwhile(*_: object) -> None:
        calls.append("asked")
        if len(calls) == 2:
            raise SnapshotConflictError("Somebody was faster.")

    monkeypatch.setattr("flue_sqla.snapshot.importing.refuse_occupied", occupied_meanwhile)
    with pytest.raises(SnapshotConflictError, match="faster"):
        snapshot.load(flue, taken)
    flue.close()
    assert objects(tmp_path / "elsewhere") == {}


def test_bytes_that_a_sweep_had_removed_come_back(migrated: Database, filled: Flue, taken: Path, tmp_path: Path) -> None:
    """The sweep's mark on the key belongs to the orphan that it removed, not to what is imported now."""
    flue = Flue(migrated.url, artifacts=str(tmp_path / "elsewhere"))
    key = filled.artifacts.list().artifacts[0].storage_key
    orphan = tmp_path / "elsewhere" / key
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"left by a killed import")
    report = flue.artifacts.sweep(grace_ms=-1000, repair=True)
    assert not orphan.exists(), report
    assert snapshot.load(flue, taken).blobs_stored == 4
    snapshot.export(flue, tmp_path / "b.snap", blobs=True)
    assert (tmp_path / "b.snap").read_bytes() == taken.read_bytes()
    flue.close()


def test_a_sweep_in_the_middle_of_an_import_refuses_it(
    migrated: Database, taken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flue_sqla.snapshot.blobs import BlobLoader

    flue = Flue(migrated.url, artifacts=str(tmp_path / "elsewhere"))
    original = BlobLoader.load

    def load_and_sweep(self: BlobLoader, blob: Blob) -> None:
        original(self, blob)
        flue.artifacts.sweep(grace_ms=-1000, repair=True)

    monkeypatch.setattr(BlobLoader, "load", load_and_sweep)
    with pytest.raises(SnapshotConflictError, match="A sweep took"):
        snapshot.load(flue, taken)
    assert objects(tmp_path / "elsewhere") == {}
    assert flue.artifacts.list().artifacts == []
    flue.close()


def test_other_bytes_under_a_key_are_never_overwritten(migrated: Database, filled: Flue, taken: Path, tmp_path: Path) -> None:
    flue = Flue(migrated.url, artifacts=str(tmp_path / "elsewhere"))
    target = tmp_path / "elsewhere" / next(iter(filled.artifacts.list().artifacts)).storage_key
    target.parent.mkdir(parents=True)
    target.write_bytes(b"precious")
    with pytest.raises(SnapshotConflictError, match="holds other bytes"):
        snapshot.load(flue, taken)
    flue.close()
    assert [data for data in objects(tmp_path / "elsewhere").values() if data] == [b"precious"]


def test_missing_or_corrupt_bytes_fail_the_export(filled: Flue, tmp_path: Path) -> None:
    folder = tmp_path / "filled"
    large = next(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size == len(LARGE))
    large.chmod(0o600)
    large.write_bytes(LARGE[:-1] + b"x")
    with pytest.raises(SnapshotError, match="other bytes than the artifact's row says"):
        snapshot.export(filled, tmp_path / "b.snap", blobs=True)
    large.unlink()
    with pytest.raises(SnapshotError, match="not in the object store"):
        snapshot.export(filled, tmp_path / "b.snap", blobs=True)
    assert not (tmp_path / "b.snap").exists()
    snapshot.export(filled, tmp_path / "rows-only.snap")


def test_a_blob_that_is_missing_swapped_or_too_many_is_refused(flue: Flue, taken: Path, tmp_path: Path) -> None:
    for change in ("missing", "swapped", "strange"):
        file = SnapshotFile.read(taken)
        name = samples.sha256(b"same")
        if change == "missing":
            del file.blobs[name]
        elif change == "swapped":
            file.blobs[name] = b"SAME"
        else:
            file.blobs = dict(sorted({**file.blobs, samples.sha256(b"strange"): b"strange"}.items()))
        with pytest.raises(SnapshotError):
            snapshot.load(flue, file.write(tmp_path / "changed.snap"))
    assert not any(rows for table, rows in samples.physical_rows(flue.engine).items() if table != "flue_meta")


def test_a_store_that_cannot_be_reached_changes_nothing(migrated: Database, taken: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    flue = Flue(migrated.url, artifacts=str(tmp_path / "file" / "below"))
    with pytest.raises(ArtifactStoreError):
        snapshot.load(flue, taken)
    assert not any(rows for table, rows in samples.physical_rows(flue.engine).items() if table != "flue_meta")
    flue.close()


def test_the_tenant_snapshot_has_its_own_bytes_only(filled: Flue, tmp_path: Path) -> None:
    snapshot.export(filled, tmp_path / "t.snap", blobs=True, tenant="tenant/b")
    assert list(SnapshotFile.read(tmp_path / "t.snap").blobs.values()) == [b"same"]
