"""delete in repeatable steps; sweep brings store and rows into agreement, and never takes the bytes of a put that is on its way."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla.artifacts import StoreOptions, bridges
from flue_sqla.artifacts.factory import blocking_store
from flue_sqla.artifacts.flows import MARKS_KEPT_MS
from flue_sqla.artifacts.keys import storage_key
from flue_sqla.errors import ArtifactConflictError, ArtifactMissingError, ArtifactStoreError, InvalidInputError, SchemaVersionError
from flue_sqla.models.tables import artifacts as table
from flue_sqla.repositories.artifacts import ArtifactRows
from flue_sqla.testing.clock import ManualClock
from flue_sqla.wire import new_id
from tests.artifacts.conftest import LOCAL_PLACES, S3_PLACES, Bench, content, places, stored_keys

sqlite_only = pytest.mark.databases("sqlite")
EVERYWHERE = places(*LOCAL_PLACES, *S3_PLACES)
ANY_AGE = -60_000
"""A grace time that takes in what was stored a moment ago, and what a store's clock says was stored in a moment."""


def count(bench: Bench) -> int:
    return int(bench.database.admin_execute("SELECT count(*) FROM flue_artifacts")[0][0])


ORPHAN = storage_key("someone", new_id("art"))


def put_orphan(place: StoreOptions, key: str = ORPHAN) -> None:
    store = blocking_store(place)
    upload = store.begin(key)
    upload.send(b"bytes without a row")
    upload.complete()
    store.close()


@sqlite_only
@EVERYWHERE
def test_a_deleted_artifact_is_gone_with_its_bytes_and_its_row(face: Any, place: StoreOptions, bench: Bench) -> None:
    kept, gone = face.put(b"kept", name="x"), face.put(os.urandom(6_000_000), name="y")
    assert face.delete(gone.id) is True
    assert face.delete(gone.id) is False
    assert face.get(gone.id) is None
    with pytest.raises(ArtifactMissingError):
        face.open(gone.id)
    assert stored_keys(place) == {kept.storage_key}
    assert count(bench) == 1


@sqlite_only
@places("folder")
def test_a_deletion_that_fails_half_way_hides_the_artifact_and_can_be_repeated(
    face: Any, place: StoreOptions, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flue_sqla.artifacts.failures import failure
    from flue_sqla.artifacts.local import LocalStore

    artifact = face.put(b"data", name="x")
    with monkeypatch.context() as broken:

        def fail(self: LocalStore, key: str) -> None:
            raise failure("delete", key, "unreachable")

        broken.setattr(LocalStore, "delete", fail)
        with pytest.raises(ArtifactStoreError):
            face.delete(artifact.id)
    assert face.get(artifact.id) is None
    assert stored_keys(place) == {artifact.storage_key}
    assert face.sweep(grace_ms=0).deleting == [artifact.id]
    assert face.delete(artifact.id) is True
    assert stored_keys(place) == set()
    assert count(bench) == 0


@sqlite_only
@EVERYWHERE
def test_sweep_reports_and_repairs(face: Any, place: StoreOptions, bench: Bench) -> None:
    intact, lost, half = face.put(b"intact", name="a"), face.put(b"lost", name="b"), face.put(b"half", name="c")
    put_orphan(place)
    store = blocking_store(place)
    store.delete(lost.storage_key)
    store.close()
    bench.database.admin_execute("UPDATE flue_artifacts SET state = 'deleting', deleted_at = 1 WHERE name = 'c'")

    assert face.sweep().orphans == [], "within the grace time"
    for repair in (False, True):
        report = face.sweep(grace_ms=ANY_AGE, repair=repair)
        assert (report.orphans, report.missing, report.deleting, report.busy) == ([ORPHAN], [lost.id], [half.id], [])
        assert report.repaired is repair
        assert not report.clean
        if not repair:
            assert len(stored_keys(place)) == 3
    assert face.sweep(grace_ms=ANY_AGE, repair=True).clean
    assert stored_keys(place) == {intact.storage_key}
    assert face.list().artifacts == [intact]
    assert content(face, intact) == b"intact"


@sqlite_only
def test_the_marks_of_swept_keys_are_invisible_and_expire(bench: Bench, place: StoreOptions) -> None:
    clock = ManualClock()
    artifacts = bench.flue(clock=clock).artifacts
    put_orphan(place)
    clock.set(2_000_000_000_000)  # long after the store's own clock
    assert artifacts.sweep(repair=True).orphans == [ORPHAN]
    assert count(bench) == 1
    mark = bench.database.admin_execute("SELECT id, tenant FROM flue_artifacts")[0]
    assert artifacts.get(mark[0], tenant=mark[1]) is None
    assert artifacts.list(tenant=mark[1]).artifacts == []
    assert artifacts.delete(mark[0], tenant=mark[1]) is False
    assert artifacts.verify().checked == 0
    assert artifacts.sweep(repair=True).clean
    assert count(bench) == 1, "a late put must still find its key taken"
    clock.advance(MARKS_KEPT_MS + 1)
    artifacts.sweep(repair=True)
    assert count(bench) == 0


@sqlite_only
@places("folder", "seaweedfs-s3fs")
def test_a_put_that_was_swept_on_its_way_is_refused(bench: Bench, place: StoreOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep runs between the upload and the row, as it would for a process that had been suspended for a day."""
    artifacts = bench.flue().artifacts
    sweeper = bench.flue().artifacts
    insert = ArtifactRows.insert
    swept = []

    def suspended(self: ArtifactRows, artifact: Any) -> bool:
        swept.extend(sweeper.sweep(grace_ms=ANY_AGE, repair=True).orphans)
        return insert(self, artifact)

    monkeypatch.setattr(ArtifactRows, "insert", suspended)
    with pytest.raises(ArtifactConflictError) as caught:
        artifacts.put(b"late", name="x")
    assert swept == [caught.value.meta["key"]]
    assert artifacts.list().artifacts == []
    assert stored_keys(place) == set()


@sqlite_only
def test_a_put_that_outlives_the_mark_asks_for_its_bytes(bench: Bench, place: StoreOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    artifacts = bench.flue(clock=clock).artifacts
    complete = bridges.AwaitedUpload.complete

    async def completed_swept_and_forgotten(upload: bridges.AwaitedUpload) -> None:
        await complete(upload)
        store = blocking_store(place)
        for info in list(store.list()):
            store.delete(info.key)
        clock.advance(MARKS_KEPT_MS * 3)

    monkeypatch.setattr(bridges.AwaitedUpload, "complete", completed_swept_and_forgotten)
    with pytest.raises(ArtifactConflictError):
        artifacts.put(b"late", name="x")
    assert artifacts.list().artifacts == []


@places("folder")
def test_a_sweep_waits_for_a_transaction_that_is_older_than_the_grace_time(bench: Bench, place: StoreOptions) -> None:
    flue, sweeper = bench.flue(), bench.flue()
    reports: list[Any] = []
    thread = threading.Thread(target=lambda: reports.append(sweeper.artifacts.sweep(grace_ms=ANY_AGE, repair=True)))
    with flue.engine.connect() as connection:
        unit = flue.bind(connection)
        artifact = unit.artifacts.put(b"host transaction still open", name="x")
        thread.start()
        thread.join(timeout=0.5)
        assert stored_keys(place) == {artifact.storage_key}, "its bytes were swept before the commit"
        connection.commit()
    thread.join(timeout=90)
    assert reports[0].orphans == []
    assert content(flue.artifacts, artifact) == b"host transaction still open"


@places("folder")
def test_bytes_of_a_put_that_was_rolled_back_are_swept(bench: Bench, place: StoreOptions) -> None:
    flue = bench.flue()
    with flue.engine.connect() as connection:
        artifact = flue.bind(connection).artifacts.put(b"data", name="x")
        connection.rollback()
    assert flue.artifacts.get(artifact.id) is None
    assert flue.artifacts.sweep(grace_ms=ANY_AGE, repair=True).orphans == [artifact.storage_key]
    assert stored_keys(place) == set()


@places("folder")
def test_a_delete_in_a_transaction_removes_the_bytes_after_the_commit(bench: Bench, place: StoreOptions) -> None:
    flue = bench.flue()
    first, second = flue.artifacts.put(b"first", name="x"), flue.artifacts.put(b"second", name="y")
    with flue.engine.connect() as connection:
        assert flue.bind(connection).artifacts.delete(first.id) is True
        assert flue.bind(connection).artifacts.get(first.id) is None
        connection.rollback()
    assert content(flue.artifacts, first) == b"first"
    with sa.orm.Session(flue.engine) as session:
        assert flue.bind(session).artifacts.delete(first.id) is True
        assert stored_keys(place) == {first.storage_key, second.storage_key}
        session.commit()
    assert stored_keys(place) == {second.storage_key}
    with flue.begin() as unit:
        assert unit.artifacts.delete(second.id) is True
        assert stored_keys(place) == {second.storage_key}
    assert stored_keys(place) == set()
    assert count(bench) == 0


@places("folder")
async def test_the_same_on_the_async_face(bench: Bench, place: StoreOptions) -> None:
    from sqlalchemy.ext.asyncio import AsyncSession

    async with bench.aflue() as aflue:
        artifact = await aflue.artifacts.put(b"data", name="x")
        async with aflue.engine.connect() as connection:
            assert await aflue.bind(connection).artifacts.delete(artifact.id) is True
            await connection.rollback()
        async with AsyncSession(aflue.engine) as session:
            unit = aflue.bind(session)
            assert await unit.artifacts.delete(artifact.id) is True
            kept = await unit.artifacts.put(b"kept", name="y")
            assert stored_keys(place) == {artifact.storage_key, kept.storage_key}
            await session.commit()
        assert stored_keys(place) == {kept.storage_key}
        assert [found.id for found in (await aflue.artifacts.list()).artifacts] == [kept.id]
        async with aflue.begin() as unit:
            assert await unit.artifacts.delete(kept.id)
        assert stored_keys(place) == set()
        with pytest.raises(InvalidInputError):
            async with aflue.begin() as unit:
                await unit.artifacts.sweep()


@places("folder")
def test_a_store_that_fails_after_the_commit_does_not_disturb_the_host(
    bench: Bench, place: StoreOptions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from flue_sqla.artifacts.local import LocalStore

    flue = bench.flue()
    artifact = flue.artifacts.put(b"data", name="x")
    with monkeypatch.context() as broken:
        broken.setattr(LocalStore, "delete", lambda self, key: 1 / 0)
        with flue.begin() as unit:
            unit.artifacts.delete(artifact.id)
    assert "is left to a sweep" in caplog.text
    assert flue.artifacts.get(artifact.id) is None
    assert flue.artifacts.sweep(grace_ms=0, repair=True).deleting == [artifact.id]
    assert stored_keys(place) == set()


@sqlite_only
def test_a_sweep_of_the_wrong_store_removes_nothing(bench: Bench, place: StoreOptions) -> None:
    """Neither rows nor what lies there, which may be another program's."""
    artifacts = bench.flue().artifacts
    for _ in range(10):
        artifacts.put(b"x", name="x")
    store = artifacts._stores.blocking()
    for info in list(store.list()):
        store.delete(info.key)
    put_orphan(place)
    report = artifacts.sweep(grace_ms=ANY_AGE)
    assert (len(report.missing), report.orphans) == (10, [ORPHAN])
    with pytest.raises(ArtifactStoreError) as caught:
        artifacts.sweep(grace_ms=ANY_AGE, repair=True)
    assert caught.value.meta["reason"] == "wrong_store"
    assert count(bench) == 10
    assert stored_keys(place) == {ORPHAN}
    artifacts.put(b"x", name="x")
    assert len(artifacts.sweep(grace_ms=ANY_AGE, repair=True).missing) == 10


@sqlite_only
@places("folder")
@pytest.mark.parametrize("mount_point", [True, False])
def test_a_sweep_of_a_volume_that_is_not_mounted_removes_no_row(bench: Bench, place: StoreOptions, mount_point: bool) -> None:
    artifacts = bench.flue().artifacts
    artifact = artifacts.put(b"x", name="x")
    place.folder.rename(place.folder.with_name("unmounted"))
    if mount_point:
        place.folder.mkdir()
    with pytest.raises(ArtifactStoreError) as caught:
        artifacts.sweep(grace_ms=ANY_AGE, repair=True)
    assert caught.value.meta["reason"] == "wrong_store"
    if mount_point:
        place.folder.rmdir()
    place.folder.with_name("unmounted").rename(place.folder)
    assert artifacts.sweep(grace_ms=ANY_AGE, repair=True).clean
    assert content(artifacts, artifact) == b"x"


@sqlite_only
def test_an_insert_that_the_database_refuses_leaves_no_bytes(bench: Bench, place: StoreOptions) -> None:
    artifacts = bench.flue().artifacts
    bench.database.admin_execute("DROP TABLE flue_artifacts")
    with pytest.raises((sa.exc.DBAPIError, SchemaVersionError)):
        artifacts.put(b"x", name="x")
    assert stored_keys(place) == set()


def test_rows_have_the_columns_that_the_store_needs(bench: Bench) -> None:
    artifacts = bench.flue().artifacts
    artifact = artifacts.put(b"x", name="ü", tenant="Tenant ß", metadata={"k": "v"})
    with bench.flue().engine.connect() as connection:
        row = connection.execute(sa.select(table.c.state, table.c.storage_key, table.c.store, table.c.tenant)).one()
    assert tuple(row) == ("stored", artifact.storage_key, None, "Tenant ß")
    assert artifacts.list(tenant="Tenant ß").artifacts == [artifact]
