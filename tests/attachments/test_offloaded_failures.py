"""Attachments kept as artifacts, and what fails: answers that are lost, stores, rows, sweeps, damage. Nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flue_sqla import AttachmentRef, Flue, FlueSettings
from flue_sqla.artifacts.local import LocalUpload
from flue_sqla.errors import (
    ArtifactConflictError,
    ArtifactStoreError,
    AttachmentConflictError,
    AttachmentIntegrityError,
    OutcomeUnknown,
)
from flue_sqla.repositories import attachments
from tests.attachments.conftest import ABOVE, CONVERSATION, LARGE, PATH, Offloading
from tests.databases.contract import Database
from tests.faults.proxy import LosingProxy


@pytest.mark.databases("postgres", "mariadb")
@pytest.mark.parametrize("existing", [False, True])
def test_a_lost_answer_costs_no_bytes(migrated: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bool) -> None:
    """The commit arrived, its answer did not: the replay must not take its own bytes for somebody else's."""
    proxy = LosingProxy(migrated.url)
    settings = FlueSettings(artifacts=str(tmp_path / "artifacts"), offload_attachments_above=ABOVE, notify=False)
    offloading = Offloading(migrated, tmp_path / "artifacts", None)
    with Flue(proxy.url, settings=settings) as flue:
        flue.submissions.has_unsettled()
        upload = flue._offload.upload

        def then_lose(ref: AttachmentRef, data: bytes) -> Any:
            artifact = upload(ref, data)
            if existing:
                offloading.put()
            proxy.lose("COMMIT")
            return artifact

        monkeypatch.setattr(flue._offload, "upload", then_lose)
        flue.attachments.put(PATH, AttachmentRef.of("att_1", "image/png", LARGE), LARGE, CONVERSATION)
        assert proxy.lost == 1
    proxy.close()
    assert offloading.data() == LARGE
    assert len(offloading.files) == len(offloading.rows("flue_artifacts")) == 1
    offloading.close()


@pytest.mark.databases("postgres", "mariadb")
def test_an_attachment_pruned_while_its_put_was_without_an_answer(
    migrated: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replay would find no row, and insert it once more for bytes that are gone."""
    proxy = LosingProxy(migrated.url)
    offloading = Offloading(migrated, tmp_path / "artifacts", None)
    insert, tries = attachments.insert_artifact, []

    def then_prune(*arguments: Any) -> bool:
        tries.append(True)
        if len(tries) == 2:
            offloading.flue.prune(instances=[("assistant", "agent-1")])
        return insert(*arguments)

    settings = FlueSettings(artifacts=str(tmp_path / "artifacts"), offload_attachments_above=ABOVE, notify=False)
    with Flue(proxy.url, settings=settings) as flue, monkeypatch.context() as patch:
        flue.submissions.has_unsettled()
        upload = flue._offload.upload
        patch.setattr(flue._offload, "upload", lambda *arguments: (upload(*arguments), proxy.lose("COMMIT"))[0])
        patch.setattr(attachments, "insert_artifact", then_prune)
        with pytest.raises(ArtifactConflictError):
            flue.attachments.put(PATH, AttachmentRef.of("att_1", "image/png", LARGE), LARGE, CONVERSATION)
    proxy.close()
    assert offloading.is_empty()
    offloading.put()
    assert offloading.data() == LARGE
    offloading.close()


def test_bytes_stay_while_the_fate_of_their_row_is_unknown(offloading: Offloading, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise OutcomeUnknown("lost")

    sync = getattr(offloading.flue, "sync", offloading.flue)
    with monkeypatch.context() as patch:
        patch.setattr(sync._scope, "write", unknown)
        with pytest.raises(OutcomeUnknown):
            offloading.put()
    assert len(offloading.files) == 1


@pytest.mark.parametrize("step", ["send", "complete"])
def test_a_store_that_fails_leaves_nothing(offloading: Offloading, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*_: Any) -> None:
        raise ArtifactStoreError("full", meta={"reason": "no_space"})

    with monkeypatch.context() as patch:
        patch.setattr(LocalUpload, step, full)
        with pytest.raises(ArtifactStoreError):
            offloading.put()
    assert offloading.is_empty()
    offloading.put()
    assert offloading.data() == LARGE


def test_rows_that_fail_leave_no_bytes(offloading: Offloading, monkeypatch: pytest.MonkeyPatch) -> None:
    complete = LocalUpload.complete

    def then_break(self: LocalUpload) -> None:
        complete(self)
        assert len(offloading.files) == 1
        offloading.database.admin_execute("DROP TABLE flue_offloaded_attachments")

    monkeypatch.setattr(LocalUpload, "complete", then_break)
    with pytest.raises(Exception, match="flue_offloaded_attachments"):
        offloading.put()
    assert offloading.files == offloading.rows("flue_attachments") == offloading.rows("flue_artifacts") == []


def test_bytes_that_a_sweep_took_meanwhile(offloading: Offloading, monkeypatch: pytest.MonkeyPatch) -> None:
    complete = LocalUpload.complete
    sweeping = Flue(offloading.database.url, artifacts=str(offloading.folder))

    def then_sweep(self: LocalUpload) -> None:
        complete(self)
        assert len(sweeping.artifacts.sweep(grace_ms=-10_000, repair=True).orphans) == 1

    with monkeypatch.context() as patch:
        patch.setattr(LocalUpload, "complete", then_sweep)
        with pytest.raises(ArtifactConflictError):
            offloading.put()
    sweeping.close()
    assert offloading.rows("flue_attachments") == offloading.rows("flue_offloaded_attachments") == []
    offloading.put()
    assert offloading.data() == LARGE


def test_bytes_that_a_sweep_took_while_another_put_them(offloading: Offloading, monkeypatch: pytest.MonkeyPatch) -> None:
    complete, other = LocalUpload.complete, Offloading(offloading.database, offloading.folder, None)

    def then_sweep(self: LocalUpload) -> None:
        complete(self)
        monkeypatch.undo()
        assert len(other.flue.artifacts.sweep(grace_ms=-10_000, repair=True).orphans) == 1
        other.put()

    monkeypatch.setattr(LocalUpload, "complete", then_sweep)
    offloading.put()
    assert offloading.data() == LARGE
    assert len(offloading.files) == 1
    other.close()


def test_lost_and_damaged_bytes_are_reported(offloading: Offloading) -> None:
    offloading.put()
    (file,) = offloading.files
    file.chmod(0o600)
    file.write_bytes(LARGE[:-1] + b"?")
    with pytest.raises(AttachmentIntegrityError) as damaged:
        offloading.get()
    assert damaged.value.meta["reason"] == "digest"
    file.write_bytes(LARGE[:-1])
    with pytest.raises((AttachmentIntegrityError, ArtifactStoreError)):
        offloading.get()
    file.unlink()
    with pytest.raises(ArtifactStoreError) as lost:
        offloading.get()
    assert lost.value.meta["reason"] == "missing"


def test_a_row_without_bytes_and_without_an_artifact_is_damaged(offloading: Offloading) -> None:
    offloading.put()
    offloading.database.admin_execute("DELETE FROM flue_offloaded_attachments")
    with pytest.raises(AttachmentIntegrityError):
        offloading.get()
    with pytest.raises(AttachmentConflictError):
        offloading.put()
