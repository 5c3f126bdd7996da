"""Attachments whose bytes the artifact store has lost, put again: the host has the bytes in its hands, and they are stored once more."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from flue_sqla import AttachmentRef, Flue, FlueSettings
from flue_sqla.artifacts import StoreOptions
from flue_sqla.artifacts.local import LocalStore, LocalUpload
from flue_sqla.errors import ArtifactConflictError, ArtifactStoreError, AttachmentConflictError, SerializationConflict
from flue_sqla.repositories import attachments
from flue_sqla.repositories.artifacts import KEPT_TENANT
from flue_sqla.repositories.scope import Executor
from tests.artifacts.crash import MOST_STEPS, killed_at
from tests.attachments.conftest import ABOVE, CONVERSATION, LARGE, PATH, Offloading
from tests.databases.contract import Database
from tests.faults.proxy import LosingProxy
from tests.submissions.waiting import in_background, until_blocked

REF = AttachmentRef.of("att_1", "image/png", LARGE)
NOW = -10_000
"""A grace time that ends in the future: everything there is counts as old."""


def lose(offloading: Offloading) -> None:
    for file in offloading.files:
        file.unlink()


def is_whole(offloading: Offloading) -> bool:
    """The attachment is readable, and store and rows agree without anything left over."""
    artifacts = [state for tenant, state in offloading.rows("flue_artifacts") if tenant == KEPT_TENANT]
    return bool(
        offloading.data() == LARGE
        and offloading.call(offloading.flue.artifacts.sweep, grace_ms=NOW).clean
        and artifacts == ["stored"]
        and len(offloading.files) == len(offloading.rows("flue_offloaded_attachments")) == 1
    )


@pytest.fixture
def lost(blocking: Offloading) -> Offloading:
    """One whose attachment has lost its bytes; blocking."""
    blocking.put()
    lose(blocking)
    return blocking


def test_a_repeated_put_restores_them(offloading: Offloading) -> None:
    for _ in range(2):
        offloading.put()
        lose(offloading)
        with pytest.raises(ArtifactStoreError):
            offloading.get()
        offloading.put()
        assert is_whole(offloading)
    assert offloading.rows("flue_attachments") == [("att_1", len(LARGE))]


def test_a_file_that_was_cut_short_is_lost_too(offloading: Offloading) -> None:
    offloading.put()
    (file,) = offloading.files
    file.chmod(0o600)
    file.write_bytes(LARGE[:-1])
    offloading.put()
    assert offloading.data() == LARGE
    assert offloading.call(offloading.flue.artifacts.sweep, grace_ms=NOW, repair=True).orphans
    assert is_whole(offloading)


def test_only_the_very_same_attachment_restores_them(offloading: Offloading) -> None:
    offloading.put()
    lose(offloading)
    with pytest.raises(AttachmentConflictError):
        offloading.put(LARGE[::-1])
    with pytest.raises(AttachmentConflictError):
        offloading.put(conversation="conv_other")
    assert offloading.files == []
    with pytest.raises(ArtifactStoreError):
        offloading.get()


def test_a_store_that_does_not_answer_has_not_lost_them(offloading: Offloading, monkeypatch: pytest.MonkeyPatch) -> None:
    offloading.put()

    def down(*_: object) -> None:
        raise ArtifactStoreError("down", meta={"reason": "unreachable"})

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "stat", down)
        with pytest.raises(ArtifactStoreError):
            offloading.put()
    assert is_whole(offloading)


def test_what_was_moved_to_another_store_is_not_missed(offloading: Offloading, tmp_path: Path) -> None:
    offloading.put()
    target = tmp_path / "elsewhere"
    with Flue(offloading.database.url) as flue:
        flue.artifacts.transfer(StoreOptions(url=str(offloading.folder)), StoreOptions(url=str(target)))
    lose(offloading)
    offloading.put()
    assert offloading.files == []
    new = offloading.sibling(folder=target)
    assert is_whole(new)
    new.close()


# -- in the host's transaction --------------------------------------------------------------------------------------------------


def put_bound(offloading: Offloading, target: Any, end: str) -> None:
    """Put it in a transaction of the host's, which is then to ``commit`` or to ``rollback``."""
    engine = offloading.flue.engine
    if not hasattr(engine, "sync_engine"):
        with engine.connect() if target is sa.Connection else Session(engine) as session:
            offloading.flue.bind(session).attachments.put(PATH, REF, LARGE, CONVERSATION)
            getattr(session, end)()
        return

    async def put() -> None:
        async with engine.connect() if target is sa.Connection else AsyncSession(engine) as session:
            await offloading.flue.bind(session).attachments.put(PATH, REF, LARGE, CONVERSATION)
            await getattr(session, end)()

    offloading.call(put)


@pytest.mark.parametrize("target", [sa.Connection, Session])
def test_in_a_transaction_of_the_hosts(offloading: Offloading, target: Any) -> None:
    offloading.put()
    lose(offloading)
    put_bound(offloading, target, "rollback")
    with pytest.raises(ArtifactStoreError):
        offloading.get()
    report = offloading.call(offloading.flue.artifacts.sweep, grace_ms=NOW, repair=True)
    assert (len(report.orphans), len(report.missing), offloading.files) == (1, 1, [])
    for _ in range(2):
        put_bound(offloading, target, "commit")
        assert is_whole(offloading)


def test_a_rollback_to_a_savepoint(lost: Offloading) -> None:
    with lost.flue.engine.connect() as connection, connection.begin():
        unit = lost.flue.bind(connection)
        savepoint = connection.begin_nested()
        unit.attachments.put(PATH, REF, LARGE, CONVERSATION)
        savepoint.rollback()
        with pytest.raises(ArtifactStoreError):
            unit.attachments.get(PATH, "att_1", CONVERSATION)
        unit.attachments.put(PATH, REF, LARGE, CONVERSATION)
        unit.attachments.put(PATH, REF, LARGE, CONVERSATION)
    assert len(lost.flue.artifacts.sweep(grace_ms=NOW, repair=True).orphans) == 1
    assert is_whole(lost)


@pytest.mark.databases("postgres", "mariadb")
def test_beside_a_transaction_that_restores_them_already(lost: Offloading) -> None:
    with lost.flue.engine.connect() as first, first.begin():
        lost.flue.bind(first).attachments.put(PATH, REF, LARGE, CONVERSATION)
        second = in_background(put_bound, lost, Session, "commit")
        until_blocked(lost.database, second)
    second.result(20)
    assert is_whole(lost)


@pytest.mark.databases("postgres", "mariadb")
@pytest.mark.parametrize("path", ["agents/assistant/agent-2", PATH], ids=["new", "lost"])
def test_a_transaction_that_is_committed_although_a_put_failed(lost: Offloading, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """At whichever of its statements: it leaves no attachment that cannot be put again."""
    for failing in range(1, 20):
        numbers = count(1)

        def fail(*arguments: Any, execute: Any = Executor.execute, numbers: count[int] = numbers, failing: int = failing) -> Any:
            if next(numbers) == failing:
                raise SerializationConflict("waited too long")
            return execute(*arguments)

        with monkeypatch.context() as patch, lost.flue.engine.connect() as connection, connection.begin():
            patch.setattr(Executor, "execute", fail)
            try:
                lost.flue.bind(connection).attachments.put(path, REF, LARGE, CONVERSATION)
                break
            except SerializationConflict:
                pass
        if path == PATH:
            with pytest.raises(ArtifactStoreError):
                lost.get(path=path)
        else:
            assert lost.get(path=path) is None
    assert failing > 4, "the steps are there"
    assert lost.data(path=path) == LARGE
    lost.put()
    lost.flue.artifacts.sweep(grace_ms=NOW, repair=True)
    lost.flue.prune(instances=[("assistant", "agent-2")])
    assert is_whole(lost)


def test_a_row_of_somebody_elses_making_gets_no_bytes(blocking: Offloading) -> None:
    """Without bytes and without an artifact: nobody can say what it is; see spec/attachments.md §2 on what differs."""
    blocking.put()
    blocking.database.admin_execute("DELETE FROM flue_offloaded_attachments")
    with blocking.flue.begin() as unit, pytest.raises(AttachmentConflictError):
        unit.attachments.put(PATH, REF, LARGE, CONVERSATION)
    assert blocking.rows("flue_offloaded_attachments") == []


# -- at once --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["uploaded", "written"])
def test_several_at_once(lost: Offloading, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """All found the bytes missing and stored their own; one of these stays. On MariaDB the last step is a deadlock, which is run again."""
    many = 1 if step == "written" and lost.database.name == "sqlite" else 3
    meeting, met = threading.Barrier(many), threading.local()

    def meet(original: Any, *arguments: Any) -> Any:
        if not hasattr(met, "once"):
            met.once = True
            meeting.wait(20)
        return original(*arguments)

    if step == "uploaded":
        complete = LocalUpload.complete
        monkeypatch.setattr(LocalUpload, "complete", lambda self: (complete(self), meet(int))[0])
    else:
        monkeypatch.setattr(attachments, "replace_artifact", partial(meet, attachments.replace_artifact))
    with ThreadPoolExecutor(3) as pool:
        for put in [pool.submit(lost.put) for _ in range(many)]:
            put.result(40)
    assert is_whole(lost)


def test_several_at_once_on_one_loop(migrated: Database, tmp_path: Path, runner: asyncio.Runner) -> None:
    offloading = Offloading(migrated, tmp_path / "artifacts", runner.run)
    offloading.put()
    lose(offloading)

    async def put_all() -> None:
        await asyncio.gather(*(offloading.flue.attachments.put(PATH, REF, LARGE, CONVERSATION) for _ in range(5)))

    runner.run(put_all())
    assert is_whole(offloading)
    offloading.close()


def after_the_upload(monkeypatch: pytest.MonkeyPatch, action: Any) -> None:
    """Do something once, when the bytes are stored and no row is."""
    complete = LocalUpload.complete

    def then(self: LocalUpload) -> None:
        complete(self)
        monkeypatch.setattr(LocalUpload, "complete", complete)
        action()

    monkeypatch.setattr(LocalUpload, "complete", then)


@pytest.mark.parametrize("bound", [False, True])
def test_a_sweep_took_the_new_bytes_before_their_row_was_written(lost: Offloading, monkeypatch: pytest.MonkeyPatch, bound: bool) -> None:
    after_the_upload(monkeypatch, partial(lost.flue.artifacts.sweep, grace_ms=NOW, repair=True))
    with pytest.raises(ArtifactConflictError):
        put_bound(lost, Session, "commit") if bound else lost.put()
    with pytest.raises(ArtifactStoreError):
        lost.get()
    lost.put()
    assert lost.data() == LARGE


def test_the_instance_was_pruned_meanwhile(lost: Offloading, monkeypatch: pytest.MonkeyPatch) -> None:
    after_the_upload(monkeypatch, partial(lost.flue.prune, instances=[("assistant", "agent-1")]))
    lost.put()
    assert is_whole(lost)


def test_a_backup_brought_them_back_meanwhile(blocking: Offloading, monkeypatch: pytest.MonkeyPatch) -> None:
    blocking.put()
    (file,) = blocking.files
    backup = file.rename(blocking.folder.parent / "backup")
    after_the_upload(monkeypatch, lambda: backup.rename(file))
    blocking.put()
    assert blocking.data() == LARGE
    assert len(blocking.flue.artifacts.sweep(grace_ms=NOW, repair=True).orphans) == 1
    assert is_whole(blocking)


# -- what breaks in between -----------------------------------------------------------------------------------------------------


@pytest.mark.databases("postgres", "mariadb")
def test_the_answer_to_the_commit_is_lost(lost: Offloading, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = LosingProxy(lost.database.url)
    settings = FlueSettings(artifacts=str(lost.folder), offload_attachments_above=ABOVE, notify=False)
    with Flue(proxy.url, settings=settings) as flue:
        flue.submissions.has_unsettled()
        upload = flue._offload.upload
        monkeypatch.setattr(flue._offload, "upload", lambda *arguments: (upload(*arguments), proxy.lose("COMMIT"))[0])
        flue.attachments.put(PATH, REF, LARGE, CONVERSATION)
        assert proxy.lost == 1
    proxy.close()
    assert is_whole(lost)


def put_once(url: str, folder: str) -> None:
    with Flue(url, settings=FlueSettings(artifacts=folder, offload_attachments_above=ABOVE)) as flue:
        flue.attachments.put(PATH, REF, LARGE, CONVERSATION)


@pytest.mark.faults
def test_killed_at_every_step_they_are_restored_or_still_missing(lost: Offloading) -> None:
    """And the put can be repeated."""
    for step in range(1, MOST_STEPS):
        came_through = killed_at(step, put_once, lost.database.url, str(lost.folder))
        report = lost.flue.artifacts.sweep(grace_ms=NOW, repair=True)
        if report.missing:
            assert not came_through
            assert lost.files == []
            with pytest.raises(ArtifactStoreError):
                lost.get()
            lost.put()
        assert is_whole(lost)
        if came_through:
            assert step > 10, "the steps are there"
            return
        lose(lost)
    pytest.fail("the put has more steps than expected")
