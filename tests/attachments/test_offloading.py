"""Attachments above a size, kept as artifacts: the same store to its callers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flue_sqla import AttachmentRef, Flue, FlueSettings
from flue_sqla.artifacts.local import LocalStore, LocalUpload
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.errors import (
    ArtifactMissingError,
    AttachmentConflictError,
    InvalidInputError,
)
from flue_sqla.repositories.artifacts import KEPT_TENANT
from flue_sqla.testing.clock import ManualClock
from flue_sqla.testing.contracts.attachments import PutGetContract
from flue_sqla.testing.portal import Portal
from flue_sqla.testing.stores import Stores
from tests.artifacts.conftest import s3_options
from tests.attachments.conftest import ABOVE, CONVERSATION, LARGE, PATH, Offloading
from tests.databases.contract import Database
from tests.databases.stores import S3Store
from tests.databases.traffic import Traffic


class TestTheContract(PutGetContract):
    """Where every byte is kept as an artifact, the contract of attachments holds as before."""

    @pytest.fixture(params=["blocking", "async"])
    def stores(self, request: pytest.FixtureRequest, migrated: Database, tmp_path: Path) -> Iterator[Stores]:
        clock = ManualClock()
        settings = FlueSettings(artifacts=str(tmp_path / "artifacts"), offload_attachments_above=0)
        if request.param == "blocking":
            with Flue(migrated.url, settings=settings, clock=clock) as flue:
                opened = Stores.of(flue, clock)
                yield opened
                opened.close()
            return
        portal = Portal()
        aflue = AsyncFlue(migrated.async_url, settings=settings, clock=clock)
        opened = Stores.of_async(aflue, clock, portal)
        yield opened
        opened.close()
        portal.run(aflue.close())
        portal.close()


def test_only_what_is_larger_leaves_the_database(offloading: Offloading) -> None:
    offloading.put(b"x" * ABOVE, id="small")
    assert offloading.files == []
    offloading.put(LARGE)
    (file,) = offloading.files
    assert file.read_bytes() == LARGE
    assert offloading.inline == b"x" * ABOVE
    assert offloading.rows("flue_attachments") == [("att_1", len(LARGE)), ("small", ABOVE)]
    assert offloading.data() == LARGE
    assert offloading.data("small") == b"x" * ABOVE
    assert offloading.get(conversation="conv_other") is None


@pytest.mark.stores
@pytest.mark.databases("sqlite")
@pytest.mark.parametrize("engine", ["s3fs", "obstore"])
def test_in_a_bucket(offloading: Offloading, seaweedfs: S3Store, engine: str) -> None:
    sync = getattr(offloading.flue, "sync", offloading.flue)
    sync._stores._options = s3_options(seaweedfs, engine)
    offloading.put(LARGE * 700, id="parts")
    offloading.put()
    assert offloading.data() == LARGE
    assert offloading.data("parts") == LARGE * 700


def test_it_is_off_unless_asked_for(offloading: Offloading) -> None:
    assert FlueSettings().offload_attachments_above is None
    default = offloading.sibling(above=None)
    default.put()
    default.close()
    assert offloading.files == []
    assert offloading.data() == LARGE


def test_the_setting_may_change_at_any_time(offloading: Offloading) -> None:
    plain = offloading.sibling(above=None)
    offloading.put(id="kept")
    plain.put(id="inline")
    for other in (plain, offloading):
        assert other.data("kept") == other.data("inline") == LARGE
        for id in ("kept", "inline"):
            other.put(id=id)
            with pytest.raises(AttachmentConflictError):
                other.put(LARGE + b"!", id=id)
    assert len(offloading.files) == 1
    plain.close()


def test_a_repeated_put_uploads_nothing(offloading: Offloading, monkeypatch: pytest.MonkeyPatch) -> None:
    offloading.put()

    def refused(*_: Any) -> None:
        raise AssertionError("an upload began")

    monkeypatch.setattr(LocalStore, "begin", refused)
    offloading.put()
    with pytest.raises(AttachmentConflictError):
        offloading.put(LARGE[::-1])


@pytest.mark.databases("postgres")
def test_a_put_is_a_look_and_one_short_transaction(migrated: Database, tmp_path: Path) -> None:
    offloading = Offloading(migrated, tmp_path / "artifacts", None)
    offloading.put(id="warm")
    traffic = Traffic(offloading.flue.engine)
    with traffic.at_most(6):
        offloading.put()
    with traffic.at_most(1):
        offloading.put()
    with traffic.at_most(1):
        offloading.get()
    offloading.close()


@pytest.mark.databases("postgres", "mariadb")
@pytest.mark.parametrize(("data", "conflicts"), [(LARGE, False), (LARGE[::-1], True)])
def test_of_two_puts_at_once_one_stays(
    migrated: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, conflicts: bool
) -> None:
    """Both looked, found nothing, and uploaded."""
    offloading = Offloading(migrated, tmp_path / "artifacts", None)
    uploaded = threading.Barrier(2)
    complete = LocalUpload.complete

    def meet(self: LocalUpload) -> None:
        complete(self)
        uploaded.wait(20)

    monkeypatch.setattr(LocalUpload, "complete", meet)
    raised: list[BaseException] = []

    def put(this: bytes) -> None:
        try:
            offloading.put(this)
        except AttachmentConflictError as error:
            raised.append(error)

    threads = [threading.Thread(target=put, args=(this,)) for this in (LARGE, data)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(raised) == conflicts
    (file,) = offloading.files
    assert offloading.data() == file.read_bytes()
    assert len(offloading.rows("flue_artifacts")) == len(offloading.rows("flue_attachments")) == 1
    offloading.close()


def test_no_tenant_sees_the_bytes_of_attachments(offloading: Offloading) -> None:
    """Who may read them is decided by the conversation alone."""
    offloading.put()
    ((id,),) = offloading.database.admin_execute("SELECT id FROM flue_artifacts")
    artifacts, call = offloading.flue.artifacts, offloading.call
    for tenant in (KEPT_TENANT, "default"):
        assert call(artifacts.get, id, tenant=tenant) is None
        assert call(artifacts.list, tenant=tenant).artifacts == []
        assert call(artifacts.delete, id, tenant=tenant) is False
        for method, arguments in ((artifacts.open, ()), (artifacts.read_range, (0, 1)), (artifacts.url, (60,))):
            with pytest.raises(ArtifactMissingError):
                call(method, id, *arguments, tenant=tenant)
    for tenant in (KEPT_TENANT, f"{KEPT_TENANT} "):
        with pytest.raises(InvalidInputError):
            call(artifacts.put, b"mine", name="mine", tenant=tenant)
    # Nor was anything marked that would go with the next sweep.
    call(artifacts.sweep, grace_ms=-10_000, repair=True)
    assert offloading.rows("flue_artifacts") == [(KEPT_TENANT, "stored")]
    assert offloading.data() == LARGE


def test_in_a_unit_the_rows_follow_its_transaction(migrated: Database, tmp_path: Path) -> None:
    offloading = Offloading(migrated, tmp_path / "artifacts", None)
    ref = AttachmentRef.of("att_1", "image/png", LARGE)
    with suppress(ZeroDivisionError), offloading.flue.begin() as unit:
        unit.attachments.put(PATH, ref, LARGE, CONVERSATION)
        assert unit.attachments.get(PATH, "att_1", CONVERSATION).data == LARGE
        raise ZeroDivisionError
    assert offloading.data() is None
    assert len(offloading.flue.artifacts.sweep(grace_ms=-10_000, repair=True).orphans) == len(offloading.files) + 1 == 1
    with offloading.flue.begin() as unit:
        unit.attachments.put(PATH, ref, LARGE, CONVERSATION)
        unit.attachments.put(PATH, ref, LARGE, CONVERSATION)
        with pytest.raises(AttachmentConflictError):
            unit.attachments.put(PATH, AttachmentRef.of("att_1", "image/png", LARGE * 2), LARGE * 2, CONVERSATION)
    assert offloading.data() == LARGE
    assert len(offloading.files) == 1
    offloading.close()


def test_in_a_unit_what_is_in_the_table_already_stays_there(migrated: Database, tmp_path: Path) -> None:
    offloading = Offloading(migrated, tmp_path / "artifacts", None)
    plain = offloading.sibling(above=None)
    plain.put()
    with offloading.flue.begin() as unit:
        unit.attachments.put(PATH, AttachmentRef.of("att_1", "image/png", LARGE), LARGE, CONVERSATION)
    assert offloading.data() == LARGE
    assert offloading.files == offloading.rows("flue_artifacts") == []
    plain.close()
    offloading.close()


async def test_the_event_loop_goes_on_during_an_upload(migrated: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, began, went_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    complete = LocalUpload.complete

    def wait(self: LocalUpload) -> None:
        loop.call_soon_threadsafe(began.set)
        assert went_on.wait(20), "the upload blocked the loop"
        complete(self)

    monkeypatch.setattr(LocalUpload, "complete", wait)
    settings = FlueSettings(artifacts=str(tmp_path / "artifacts"), offload_attachments_above=ABOVE)
    async with AsyncFlue(migrated.async_url, settings=settings) as flue:
        put = asyncio.create_task(flue.attachments.put(PATH, AttachmentRef.of("att_1", "image/png", LARGE), LARGE, CONVERSATION))
        await began.wait()
        went_on.set()
        await put
        found = await flue.attachments.get(PATH, "att_1", CONVERSATION)
        assert found is not None
        assert found.data == LARGE


def test_a_dispatched_message_brings_its_large_attachments(offloading: Offloading) -> None:
    import base64

    image = {"type": "image", "data": base64.b64encode(LARGE).decode(), "mimeType": "image/png"}
    message = {"kind": "user", "body": "look", "attachments": [image]}
    offloading.call(offloading.flue.dispatch, "assistant", id="agent-1", message=message, idempotency_key="once")
    (file,) = offloading.files
    assert file.read_bytes() == LARGE
    offloading.call(offloading.flue.dispatch, "assistant", id="agent-1", message=message, idempotency_key="once")
    assert offloading.files == [file]
