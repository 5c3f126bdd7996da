"""Attachments kept as artifacts while something else happens to them: prunes, sweeps, transactions of a host's that last."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from flue_sqla import AttachmentRef
from flue_sqla.artifacts.local import LocalUpload
from flue_sqla.dialects import implementation
from flue_sqla.errors import ArtifactStoreError
from flue_sqla.repositories import attachments, offloading
from flue_sqla.repositories.retention import instances
from tests.attachments.conftest import CONVERSATION, LARGE, PATH, Offloading
from tests.databases.contract import Database
from tests.submissions.waiting import in_background, until_blocked

INSTANCE = ("assistant", "agent-1")
REF = AttachmentRef.of("att_1", "image/png", LARGE)


@pytest.fixture
def awaited(migrated: Database, tmp_path: Path, runner: asyncio.Runner) -> Iterator[Offloading]:
    made = Offloading(migrated, tmp_path / "artifacts", runner.run)
    yield made
    made.close()


def in_another_thread(function: Any, *arguments: Any, **more: Any) -> Any:
    """Run to its end while this thread's transaction is open; it must not wait for that."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments, **more).result(10)


@pytest.mark.databases("postgres", "mariadb")
def test_an_open_put_of_something_else_does_not_hold_up_a_prune(blocking: Offloading) -> None:
    blocking.put()
    engine = blocking.flue.engine
    with engine.connect() as connection, connection.begin():
        unit = blocking.flue.bind(connection)
        unit.artifacts.put(b"x", name="x")
        unit.attachments.put("agents/assistant/agent-2", REF, LARGE, CONVERSATION)
        in_another_thread(blocking.flue.prune, instances=[INSTANCE])
    assert blocking.data() is None
    assert blocking.data(path="agents/assistant/agent-2") == LARGE


@pytest.mark.databases("postgres", "mariadb")
def test_an_open_put_does_not_hold_up_a_sweep_that_is_not_about_it(blocking: Offloading) -> None:
    """Whatever the sweep takes for old: it sees the rows of a put together or not at all."""
    with blocking.flue.engine.connect() as connection, connection.begin():
        blocking.flue.bind(connection).attachments.put(PATH, REF, LARGE, CONVERSATION)
        after = blocking.flue.clock.now() + 60_000
        in_another_thread(offloading.release_stranded, blocking.flue._scope, after)
    offloading.release_stranded(blocking.flue._scope, after)
    assert blocking.data() == LARGE


@pytest.mark.databases("postgres", "mariadb")
def test_a_prune_that_waits_for_a_put_of_an_id_used_before(blocking: Offloading) -> None:
    """The prune found the entry that a Flue server left behind, and the put has replaced that one, when the prune may go on."""
    blocking.put()
    blocking.remove_as_flue_does("att_1")
    with blocking.flue.engine.connect() as connection, connection.begin():
        blocking.flue.bind(connection).attachments.put(PATH, REF, LARGE, CONVERSATION)
        prune = in_background(blocking.flue.prune, instances=[INSTANCE])
        until_blocked(blocking.database, prune)
    prune.result(20)
    blocking.flue.artifacts.sweep(grace_ms=-10_000, repair=True)
    # MariaDB already waits before it removes the attachments, and removes this one too.
    stays = blocking.database.name == "postgres"
    assert blocking.data() == (LARGE if stays else None)
    assert len(blocking.files) == len(blocking.rows("flue_offloaded_attachments")) == stays


@pytest.mark.databases("postgres")
def test_a_put_that_a_prune_no_longer_sees_keeps_its_bytes(blocking: Offloading, monkeypatch: pytest.MonkeyPatch) -> None:
    """It commits after the attachments of the instance are removed, and before their artifacts are."""
    blocking.put(id="before")
    release = instances.release_removed

    def put_first(*arguments: Any) -> Any:
        in_another_thread(blocking.put)
        return release(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(instances, "release_removed", put_first)
        blocking.flue.prune(instances=[INSTANCE])
    blocking.flue.artifacts.sweep(grace_ms=-10_000, repair=True)
    assert (blocking.data("before"), blocking.data()) == (None, LARGE)
    assert len(blocking.files) == 1


@pytest.mark.databases("postgres")
def test_a_put_whose_predecessor_is_pruned_under_its_hands(blocking: Offloading, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its INSERT met a row that is gone when it is looked at: it is the first one then."""
    upload, link = blocking.flue._offload.upload, attachments.link_artifact
    met: list[bool] = []

    def put_first(ref: AttachmentRef, data: bytes) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(blocking.flue._offload, "upload", upload)
            blocking.put()
        return upload(ref, data)

    def then_prune(*arguments: Any) -> bool:
        linked = link(*arguments)
        if not linked:
            met.append(True)
            in_another_thread(blocking.flue.prune, instances=[INSTANCE])
        return linked

    monkeypatch.setattr(blocking.flue._offload, "upload", put_first)
    monkeypatch.setattr(attachments, "link_artifact", then_prune)
    blocking.put()
    assert met
    assert blocking.data() == LARGE
    assert len(blocking.files) == len(blocking.rows("flue_artifacts")) == 1


@pytest.mark.parametrize("target", [sa.Connection, Session])
@pytest.mark.databases("postgres", "mariadb")
def test_a_repeat_in_a_transaction_that_looked_before(blocking: Offloading, target: Any) -> None:
    """What was put meanwhile is met whole, with the artifact that has its bytes, whatever the transaction's snapshot shows."""
    made = blocking.flue.engine.connect() if target is sa.Connection else Session(blocking.flue.engine)
    with made as session, session.begin():
        session.execute(sa.select(sa.func.count()).select_from(sa.table("flue_attachments"))).all()
        blocking.put()
        blocking.flue.bind(session).attachments.put(PATH, REF, LARGE, CONVERSATION)
    assert blocking.data() == LARGE
    assert len(blocking.files) == len(blocking.rows("flue_artifacts")) == 1


def test_mysql_reads_every_table_of_what_a_put_met_as_it_is_now() -> None:
    """With FOR SHARE OF one table, those that are not named are read as of the transaction's snapshot."""
    dialect = mysql.dialect()
    dialect.supports_for_update_of = True  # as of MySQL 8
    statement = str(attachments._EXISTING(implementation(dialect)).compile(dialect=dialect))
    assert "OF flue_attachments" not in statement
    assert statement.endswith(("FOR SHARE", "LOCK IN SHARE MODE"))


@pytest.mark.parametrize("target", [sa.Connection, Session])
def test_a_bound_transaction_holds_nothing_during_the_upload(blocking: Offloading, monkeypatch: pytest.MonkeyPatch, target: Any) -> None:
    """Not even a connection or a snapshot, where the put is its first statement."""
    upload, begun = blocking.flue._offload.upload, []
    made = blocking.flue.engine.connect() if target is sa.Connection else Session(blocking.flue.engine)
    with made as session:
        unit = blocking.flue.bind(session)

        def look(*arguments: Any) -> Any:
            begun.append(session.in_transaction())
            return upload(*arguments)

        monkeypatch.setattr(unit._offload, "upload", look)
        unit.attachments.put(PATH, REF, LARGE, CONVERSATION)
        session.commit()
    assert begun == [False]
    assert blocking.data() == LARGE


@pytest.mark.parametrize("target", [sa.Connection, Session])
def test_a_rollback_to_a_savepoint_takes_the_rows_and_leaves_the_bytes_to_a_sweep(blocking: Offloading, target: Any) -> None:
    made = blocking.flue.engine.connect() if target is sa.Connection else Session(blocking.flue.engine)
    with made as session, session.begin():
        unit = blocking.flue.bind(session)
        unit.attachments.put(PATH, AttachmentRef.of("stays", "image/png", LARGE), LARGE, CONVERSATION)
        savepoint = session.begin_nested()
        unit.attachments.put(PATH, REF, LARGE, CONVERSATION)
        savepoint.rollback()
        assert unit.attachments.get(PATH, "att_1", CONVERSATION) is None
    assert (blocking.data(), blocking.data("stays")) == (None, LARGE)
    assert len(blocking.flue.artifacts.sweep(grace_ms=-10_000, repair=True).orphans) == 1
    assert len(blocking.files) == 1


def test_bytes_that_are_gone_because_the_attachment_is_another_by_now(blocking: Offloading, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the rows and the reading of the bytes the instance was pruned, and the id put again."""
    blocking.put()
    read, other = blocking.flue._offload.read, LARGE[::-1]

    def too_late(*arguments: Any) -> bytes:
        monkeypatch.undo()
        blocking.flue.prune(instances=[INSTANCE])
        blocking.put(other)
        with pytest.raises(ArtifactStoreError):
            read(*arguments)
        return bytes(read(*arguments))

    monkeypatch.setattr(blocking.flue._offload, "read", too_late)
    assert blocking.data() == other


# -- cancelled ------------------------------------------------------------------------------------------------------------------


async def put_cancelled_when(offloading: Offloading, reached: asyncio.Event) -> None:
    put = asyncio.create_task(offloading.flue.attachments.put(PATH, REF, LARGE, CONVERSATION))
    await asyncio.wait_for(reached.wait(), 20)
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put


@pytest.mark.parametrize("step", ["send", "complete"])
def test_a_put_that_is_cancelled_during_its_upload(
    awaited: Offloading, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    reached, done = asyncio.Event(), getattr(LocalUpload, step)
    loop = runner.get_loop()

    def notice(self: LocalUpload, *arguments: Any) -> None:
        loop.call_soon_threadsafe(reached.set)
        done(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(LocalUpload, step, notice)
        runner.run(put_cancelled_when(awaited, reached))
    assert awaited.is_empty()
    awaited.put()
    assert awaited.data() == LARGE


def test_a_put_that_is_cancelled_before_its_commit(awaited: Offloading, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a commit was sent cannot be known, so the bytes are left to a sweep; of the rows there is none."""
    reached, link = asyncio.Event(), attachments.link_artifact

    def then_wait(*arguments: Any) -> None:
        link(*arguments)
        reached.set()
        await_only(asyncio.sleep(60))

    with monkeypatch.context() as patch:
        patch.setattr(attachments, "link_artifact", then_wait)
        runner.run(put_cancelled_when(awaited, reached))
    for table in ("flue_attachments", "flue_artifacts", "flue_offloaded_attachments"):
        assert awaited.rows(table) == []
    awaited.put()
    assert len(awaited.call(awaited.flue.artifacts.sweep, grace_ms=-10_000, repair=True).orphans) == len(awaited.files) == 1
    assert awaited.data() == LARGE
