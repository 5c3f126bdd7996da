"""What an operator does around attachments that are kept as artifacts: deleting, sweeping, verifying, moving, copying, going back."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flue_sqla import AttachmentRef, Flue, FlueSettings, snapshot
from flue_sqla.artifacts import StoreOptions
from flue_sqla.artifacts.local import LocalStore
from flue_sqla.errors import ArtifactStoreError, AttachmentConflictError, SchemaVersionError, SnapshotError
from flue_sqla.schema.migrate import downgrade
from flue_sqla.schema.verdict import VerdictKind
from tests.attachments.conftest import ABOVE, CONVERSATION, LARGE, PATH, Offloading
from tests.databases.contract import Database
from tests.snapshot.files import SnapshotFile

INSTANCE = ("assistant", "agent-1")
OTHER = "agents/assistant/agent-2"
NOW = -10_000
"""A grace time that ends in the future: everything there is counts as old."""


def sweep(offloading: Offloading) -> None:
    offloading.call(offloading.flue.artifacts.sweep, grace_ms=NOW, repair=True)


# -- deleting an instance -------------------------------------------------------------------------------------------------------


def test_an_instance_goes_with_the_bytes_of_its_attachments(offloading: Offloading) -> None:
    offloading.put(id="one")
    offloading.put(LARGE * 2, id="two")
    offloading.put(b"small", id="three")
    offloading.put(id="one", path=OTHER)
    counted = offloading.call(offloading.flue.prune, instances=[INSTANCE], dry_run=True).deleted
    report = offloading.call(offloading.flue.prune, instances=[INSTANCE])
    assert report.deleted == counted
    assert (report.deleted["flue_attachments"], report.deleted["flue_offloaded_attachments"], report.deleted["flue_artifacts"]) == (3, 2, 2)
    assert len(offloading.files) == len(offloading.rows("flue_artifacts")) == len(offloading.rows("flue_offloaded_attachments")) == 1
    assert offloading.data("one") is None
    assert offloading.data("one", path=OTHER) == LARGE
    offloading.put(b"x" * (ABOVE + 1), id="one")
    assert offloading.data("one") == b"x" * (ABOVE + 1)


def test_an_instance_goes_with_what_a_flue_server_left_of_it(offloading: Offloading) -> None:
    """Also where the bytes are gone already, and only the entry names the attachment."""
    for id in ("bytes", "entry"):
        offloading.put(id=id)
        offloading.remove_as_flue_does(id)
    offloading.database.admin_execute("DELETE FROM flue_artifacts WHERE name = 'entry'")
    offloading.call(offloading.flue.prune, instances=[INSTANCE])
    sweep(offloading)
    assert offloading.files == offloading.rows("flue_attachments") == offloading.rows("flue_offloaded_attachments") == []


def test_a_tenants_artifact_does_not_go_with_an_instance(offloading: Offloading) -> None:
    """Not even where somebody wrote by hand that it were an attachment's."""
    offloading.put()
    secret = offloading.call(offloading.flue.artifacts.put, LARGE, name="secret", tenant="acme")
    offloading.database.admin_execute(f"UPDATE flue_offloaded_attachments SET artifact_id = '{secret.id}'")
    offloading.call(offloading.flue.prune, instances=[INSTANCE])
    sweep(offloading)
    assert offloading.call(offloading.flue.artifacts.read_range, secret.id, 0, tenant="acme") == LARGE
    assert len(offloading.files) == 1


def test_a_store_that_is_down_does_not_keep_an_instance(offloading: Offloading, monkeypatch: pytest.MonkeyPatch) -> None:
    offloading.put()

    def down(*_: object) -> None:
        raise ArtifactStoreError("down", meta={"reason": "unreachable"})

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "delete", down)
        offloading.call(offloading.flue.prune, instances=[INSTANCE])
    assert offloading.data() is None
    assert len(offloading.files) == 1
    sweep(offloading)
    assert offloading.is_empty()


@pytest.mark.faults
@pytest.mark.parametrize("step", ["uploaded", "written", "removed"])
def test_killed_at_any_step_a_sweep_brings_agreement(migrated: Database, tmp_path: Path, step: str) -> None:
    """SIGKILL after the bytes and before the rows, after the rows, and after an instance's rows and before its bytes."""
    offloading = Offloading(migrated, tmp_path / "artifacts", None)
    offloading.put(id="before")
    program = [sys.executable, "-m", "tests.attachments.killed", migrated.url, str(offloading.folder), step]
    done = subprocess.run(program, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    sweep(offloading)
    report = offloading.flue.artifacts.sweep(grace_ms=NOW)
    assert report.clean
    assert offloading.data("before") == (None if step == "removed" else LARGE)
    assert offloading.data("after") == (LARGE if step == "written" else None)
    assert len(offloading.files) == {"uploaded": 1, "written": 2, "removed": 0}[step]
    offloading.put(id="after")
    assert offloading.data("after") == LARGE
    offloading.close()


# -- sweeping and verifying -----------------------------------------------------------------------------------------------------


def test_a_sweep_leaves_attachments_alone(offloading: Offloading) -> None:
    offloading.put()
    sweep(offloading)
    assert offloading.data() == LARGE


def test_a_sweep_reports_lost_bytes_and_forgets_nothing(offloading: Offloading) -> None:
    """A backup may bring them back, and until then a reader must not be told that there is no attachment."""
    offloading.put()
    (file,) = offloading.files
    file.rename(offloading.folder.parent / "backup")
    for _ in range(2):
        assert len(offloading.call(offloading.flue.artifacts.sweep, grace_ms=NOW, repair=True).missing) == 1
    with pytest.raises(ArtifactStoreError):
        offloading.get()
    (offloading.folder.parent / "backup").rename(file)
    assert offloading.data() == LARGE


def test_bytes_of_an_attachment_that_a_flue_server_deleted(offloading: Offloading) -> None:
    """It knows nothing of artifacts: a sweep finds them, once they are older than the grace time."""
    offloading.put()
    offloading.put(id="stays")
    offloading.remove_as_flue_does("att_1")
    assert offloading.call(offloading.flue.artifacts.sweep).clean
    found = offloading.call(offloading.flue.artifacts.sweep, grace_ms=NOW)
    assert len(found.deleting) == 1
    offloading.call(offloading.flue.artifacts.sweep, grace_ms=NOW, repair=True)
    assert len(offloading.files) == len(offloading.rows("flue_artifacts")) == len(offloading.rows("flue_offloaded_attachments")) == 1
    assert offloading.data("stays") == LARGE
    # The id is used again, with other bytes and in the table itself.
    offloading.put(b"small")
    assert offloading.data() == b"small"


def test_an_id_that_is_used_again_before_a_sweep(offloading: Offloading) -> None:
    """A Flue server deleted the attachment and stored another one, in the table; the old bytes go with the instance at the latest."""
    offloading.put()
    offloading.remove_as_flue_does("att_1")
    plain = offloading.sibling(above=None)
    plain.put(LARGE[::-1])
    plain.close()
    for _ in range(2):
        assert offloading.data() == LARGE[::-1]
        offloading.put(LARGE[::-1])
        with pytest.raises(AttachmentConflictError):
            offloading.put()
        sweep(offloading)
    offloading.call(offloading.flue.prune, instances=[INSTANCE])
    assert offloading.is_empty()


def test_verify_reads_them_too(offloading: Offloading) -> None:
    offloading.put()
    assert offloading.call(offloading.flue.artifacts.verify).ok
    (file,) = offloading.files
    file.chmod(0o600)
    file.write_bytes(LARGE[::-1])
    (finding,) = offloading.call(offloading.flue.artifacts.verify).findings
    assert finding.reason == "corrupt"


# -- moving and copying ---------------------------------------------------------------------------------------------------------


def test_a_transfer_takes_them_along(offloading: Offloading, tmp_path: Path) -> None:
    offloading.put()
    target = tmp_path / "elsewhere"
    moved = StoreOptions(url=str(target))
    with Flue(offloading.database.url) as flue:
        report = flue.artifacts.transfer(StoreOptions(url=str(offloading.folder)), moved)
    assert (report.artifacts, report.switched) == (1, True)
    with pytest.raises(ArtifactStoreError) as old:
        offloading.get()
    assert old.value.meta["reason"] == "moved"
    new = offloading.sibling(folder=target)
    assert new.data() == LARGE
    new.call(new.flue.prune, instances=[INSTANCE])
    assert new.files == []
    new.close()


def test_an_instance_pruned_by_a_process_that_has_the_old_store(offloading: Offloading, tmp_path: Path) -> None:
    """It cannot remove the bytes, and leaves that to a sweep of the store that has them."""
    offloading.put()
    target = tmp_path / "elsewhere"
    with Flue(offloading.database.url) as flue:
        flue.artifacts.transfer(StoreOptions(url=str(offloading.folder)), StoreOptions(url=str(target)))
    offloading.call(offloading.flue.prune, instances=[INSTANCE])
    new = offloading.sibling(folder=target)
    assert len(new.call(new.flue.artifacts.sweep, grace_ms=NOW, repair=True).deleting) == 1
    assert new.files == new.rows("flue_artifacts") == []
    new.close()


@pytest.mark.databases("sqlite", "postgres")
def test_a_snapshot_carries_them(offloading: Offloading, tmp_path: Path) -> None:
    offloading.put()
    offloading.put(b"small", id="small")
    with Flue(offloading.database.url, artifacts=str(offloading.folder)) as flue:
        info = snapshot.export(flue, tmp_path / "all.snap", blobs=True)
        assert info.blobs == 1
        with pytest.raises(SnapshotError, match="attachments"):
            snapshot.export(flue, tmp_path / "tenant.snap", tenant="-attachments")
    target = Flue("sqlite:///:memory:", artifacts=str(tmp_path / "target"))
    target.boot()
    snapshot.load(target, tmp_path / "all.snap")
    for id, data in (("att_1", LARGE), ("small", b"small")):
        found = target.attachments.get(PATH, id, CONVERSATION)
        assert found is not None
        assert found.data == data
    assert snapshot.load(target, tmp_path / "all.snap", mode="merge").inserted == 0
    target.close()


@pytest.mark.databases("sqlite")
def test_a_snapshot_that_was_tampered_with(offloading: Offloading, tmp_path: Path) -> None:
    """Of an artifact of nobody, of two attachments, of an attachment that is not in it, of these artifacts as of a tenant's."""
    for id in ("att_1", "att_2"):
        offloading.put(id=id)
    with Flue(offloading.database.url, artifacts=str(offloading.folder)) as flue:
        snapshot.export(flue, tmp_path / "all.snap")
        kept = SnapshotFile.read(tmp_path / "all.snap").rows["flue_offloaded_attachments"][0][-1]
        for changes, why in (
            ({"artifact_id": "art_nowhere"}, "flue_artifacts"),
            ({"artifact_id": kept}, "same artifact_id as row 1"),
            ({"attachment_id": "att_3"}, "flue_attachments"),
        ):
            file = SnapshotFile.read(tmp_path / "all.snap")
            file.set("flue_offloaded_attachments", 1, **changes)
            file.write(tmp_path / "broken.snap")
            with pytest.raises(SnapshotError, match=why):
                snapshot.load(flue, tmp_path / "broken.snap", mode="replace")
        file = SnapshotFile.read(tmp_path / "all.snap")
        file.header["tenant"], file.rows = "-attachments", {"flue_artifacts": file.rows["flue_artifacts"]}
        file.header["tables"] = [table for table in file.header["tables"] if table["name"] == "flue_artifacts"]
        file.write(tmp_path / "broken.snap")
        with pytest.raises(SnapshotError, match="attachments"):
            snapshot.load(flue, tmp_path / "broken.snap", mode="replace")
    assert offloading.data() == offloading.data("att_2") == LARGE


@pytest.mark.parametrize("swept", [False, True])
def test_a_snapshot_beside_a_flue_server_that_deletes_attachments(offloading: Offloading, tmp_path: Path, swept: bool) -> None:
    """What it leaves behind is not worth a backup that cannot be restored."""
    offloading.put()
    offloading.put(id="stays")
    offloading.remove_as_flue_does("att_1")
    if swept:
        sweep(offloading)
    with Flue(offloading.database.url, artifacts=str(offloading.folder)) as flue:
        snapshot.export(flue, tmp_path / "all.snap")
        snapshot.load(flue, tmp_path / "all.snap", mode="replace")
    assert (offloading.data(), offloading.data("stays")) == (None, LARGE)
    sweep(offloading)
    assert len(offloading.files) == 1


def test_a_snapshot_cannot_lend_an_attachment_somebody_s_artifact(offloading: Offloading) -> None:
    """Not by a row that was written by hand either."""
    offloading.put()
    secret = offloading.call(offloading.flue.artifacts.put, LARGE, name="secret", tenant="acme")
    offloading.database.admin_execute(f"UPDATE flue_offloaded_attachments SET artifact_id = '{secret.id}'")
    with pytest.raises(Exception, match="integrity"):
        offloading.get()


# -- the schema -----------------------------------------------------------------------------------------------------------------


def test_going_back_is_refused_while_there_are_any(migrated: Database, tmp_path: Path) -> None:
    offloading = Offloading(migrated, tmp_path / "artifacts", None)
    offloading.put()
    flue = offloading.flue
    with pytest.raises(SchemaVersionError, match="flue_offloaded_attachments"):
        downgrade(flue.engine, "flue_0001")
    assert offloading.data() == LARGE
    flue.prune(instances=[INSTANCE])
    downgrade(flue.engine, "flue_0001")
    verdict = flue.boot()
    assert (verdict.kind, verdict.previous) == (VerdictKind.CURRENT, VerdictKind.BEHIND)
    offloading.put()
    assert offloading.data() == LARGE
    offloading.close()


def test_a_database_of_the_first_revision_learns_it(migrated: Database, tmp_path: Path) -> None:
    """With rows in it, as a release that knew only the first revision left them."""
    settings = FlueSettings(artifacts=str(tmp_path / "artifacts"), offload_attachments_above=ABOVE)
    with Flue(migrated.url, settings=settings) as flue:
        downgrade(flue.engine, "flue_0001")
        migrated.admin_execute(
            "INSERT INTO flue_artifacts (id, tenant, name, size, sha256, storage_key, state, created_at)"
            " VALUES ('art_1', 'default', 'n', 1, 'x', 'default/art_1', 'stored', 1)"
        )
        assert flue.boot().previous is VerdictKind.BEHIND
        assert flue.artifacts.get("art_1") is not None
        flue.attachments.put(PATH, AttachmentRef.of("att_1", "image/png", LARGE), LARGE, CONVERSATION)
        found = flue.attachments.get(PATH, "att_1", CONVERSATION)
        assert found is not None
        assert found.data == LARGE


def test_many_at_once_on_one_loop(migrated: Database, tmp_path: Path, runner: asyncio.Runner) -> None:
    offloading = Offloading(migrated, tmp_path / "artifacts", runner.run)
    datas = {f"att_{number}": bytes([number]) * (ABOVE + number + 1) for number in range(20)}

    async def put_all() -> None:
        puts = [
            offloading.flue.attachments.put(PATH, AttachmentRef.of(id, "image/png", data), data, CONVERSATION)
            for id, data in datas.items()
            for _ in range(2)
        ]
        await asyncio.gather(*puts)

    runner.run(put_all())
    assert {id: offloading.data(id) for id in datas} == datas
    assert len(offloading.files) == len(datas)
    offloading.close()
