"""get, list, open, read_range, url: both faces, and never across tenants."""

from __future__ import annotations

import asyncio
import io
import os
from typing import Any

import pytest

from flue_sqla.artifacts import StoreOptions
from flue_sqla.errors import ArtifactIntegrityError, ArtifactMissingError, ArtifactStoreError, InvalidInputError
from tests.artifacts.conftest import LOCAL_PLACES, S3_PLACES, Bench, places

pytestmark = pytest.mark.databases("sqlite")
EVERYWHERE = places(*LOCAL_PLACES, *S3_PLACES)
MIB = 1024 * 1024
DATA = os.urandom(9 * MIB + 11)


@EVERYWHERE
def test_a_range_is_cut_to_the_artifact(face: Any) -> None:
    artifact = face.put(DATA, name="x")
    for start, end in [(0, 5), (8 * MIB, 9 * MIB), (9 * MIB + 10, 10 * MIB), (10 * MIB, 11 * MIB), (5, 5)]:
        assert face.read_range(artifact.id, start, end) == DATA[start:end]
    assert face.read_range(artifact.id, 9 * MIB) == DATA[9 * MIB :]
    assert face.read_range(artifact.id, 11 * MIB) == face.read_range(artifact.id, 11 * MIB, 12 * MIB) == b""
    for start, end in [(-1, 5), (5, 4)]:
        with pytest.raises(InvalidInputError):
            face.read_range(artifact.id, start, end)


def test_a_file_is_an_ordinary_binary_file(bench: Bench) -> None:
    artifacts = bench.flue().artifacts
    text = "\n".join(f"line {number} ü" for number in range(10_000))
    artifact = artifacts.put(text.encode(), name="x")
    for verify in (False, True):
        with artifacts.open(artifact.id, verify=verify) as file:
            assert file.readable()
            assert file.seekable()
            assert [line.decode().rstrip("\n") for line in file] == text.split("\n")
        with io.TextIOWrapper(artifacts.open(artifact.id, verify=verify), encoding="utf-8") as lines:
            assert lines.readline() == "line 0 ü\n"
        assert file.closed


@places("folder", "seaweedfs-s3fs", "seaweedfs-obstore")
@pytest.mark.parametrize("size", [0, 1, len(DATA)])
@pytest.mark.parametrize("damage", ["flipped", "cut", "extended", "gone"])
def test_damage_is_found_by_open_and_by_verify(face: Any, place: StoreOptions, size: int, damage: str) -> None:
    data = DATA[:size]
    artifact = face.put(data, name="x")
    intact = face.put(b"intact", name="y")
    damaged = {"flipped": data[:-1] + bytes([data[-1] ^ 1]) if data else b"", "cut": data[:-1], "extended": data + b"!", "gone": b""}[
        damage
    ]
    if damaged == data and damage != "gone":
        pytest.skip("nothing to damage")
    overwrite(place, artifact.storage_key, damaged if damage != "gone" else None)

    report = face.verify()
    assert [finding.id for finding in report.findings] == [artifact.id]
    assert report.findings[0].reason == ("missing" if damage == "gone" else "corrupt")
    assert report.checked == 2
    assert not report.ok
    if damage == "extended" and place.scheme == "s3":
        return  # a reader asks for the bytes that the row speaks of, and those are intact
    if damage == "gone" and size == 0:
        return  # there is nothing to read
    with pytest.raises((ArtifactIntegrityError, ArtifactStoreError)):
        read_in_pieces(face, artifact.id)
    with face.open(intact.id, verify=True) as file:
        assert file.read() == b"intact"


def read_in_pieces(face: Any, artifact_id: str) -> None:
    with face.open(artifact_id, verify=True) as file:
        while file.read(MIB):
            pass


def overwrite(place: StoreOptions, key: str, data: bytes | None) -> None:
    """Change an object behind the library's back."""
    if place.scheme == "file":
        path = place.folder / key
        path.unlink() if data is None else path.write_bytes(data)
        return
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=place.endpoint,
        aws_access_key_id=place.access_key_id,
        aws_secret_access_key=place.secret_access_key,
        region_name=place.region,
    )
    where = {"Bucket": place.bucket, "Key": f"{place.prefix}/{key}"}
    client.delete_object(**where) if data is None else client.put_object(**where, Body=data)


@places("folder", "seaweedfs-s3fs")
def test_verifying_survives_seeking(face: Any) -> None:
    artifact = face.put(DATA, name="x")
    with face.open(artifact.id, verify=True) as file:
        file.seek(8 * MIB)
        assert file.read(10) == DATA[8 * MIB : 8 * MIB + 10]
        file.seek(10 * MIB)
        assert file.read(10) == b"", "beyond the end there is nothing, and nothing wrong"
        file.seek(0)
        assert file.read() == DATA
        file.seek(0)
        assert file.read() == DATA


def test_verify_continues_where_it_was_interrupted(face: Any) -> None:
    ids = [face.put(os.urandom(100), name="x", tenant=f"t{number % 2}").id for number in range(7)]
    seen: list[str] = []
    first = face.verify(limit=3, progress=lambda report: seen.append(report.cursor or ""))
    assert (first.checked, first.bytes_read) == (3, 300)
    assert seen == sorted(ids)[:3]

    class Interrupted(Exception):
        pass

    reports = []

    def interrupt(report: Any) -> None:
        reports.append(report)
        if report.checked == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        face.verify(cursor=first.cursor, progress=interrupt)
    last = face.verify(cursor=reports[-1].cursor)
    assert (last.checked, last.cursor) == (2, None)
    assert face.verify(tenant="t0").checked == 4


@pytest.mark.parametrize("cursor", ["", "junk", "~", "art_", "art_01arz3ndektsv4rrffq69g5fav", "art_01ARZ3NDEKTSV4RRFFQ69G5FAV\n"])
def test_verify_does_not_call_all_well_what_it_was_led_past(face: Any, cursor: str) -> None:
    face.put(b"x", name="x")
    with pytest.raises(InvalidInputError, match="not a cursor"):
        face.verify(cursor=cursor)
    assert face.verify(cursor="art_01ARZ3NDEKTSV4RRFFQ69G5FAV").checked == 1, "that of an artifact which is gone"


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "3"], ids=repr)
def test_a_limit_is_a_number_of_artifacts(face: Any, limit: Any) -> None:
    for call in (face.verify, face.list):
        with pytest.raises(InvalidInputError, match="at least 1"):
            call(limit=limit)


def test_another_tenant_is_told_nothing(face: Any) -> None:
    artifact = face.put(b"secret", name="x", tenant="a")
    nothing = "art_01ARZ3NDEKTSV4RRFFQ69G5FAV"
    for tenant in ("b", "A", "a ", "default"):
        assert face.get(artifact.id, tenant=tenant) is None
        assert face.list(tenant=tenant).artifacts == []
        assert face.delete(artifact.id, tenant=tenant) is False
        for attempt in (
            lambda an_id, tenant=tenant: face.open(an_id, tenant=tenant),
            lambda an_id, tenant=tenant: face.read_range(an_id, 0, 5, tenant=tenant),
            lambda an_id, tenant=tenant: face.url(an_id, 60, tenant=tenant),
        ):
            refusals = []
            for an_id in (artifact.id, nothing):
                with pytest.raises(ArtifactMissingError) as caught:
                    attempt(an_id)
                refusals.append((str(caught.value), caught.value.meta, caught.value.remedy))
            assert str(refusals[0]).replace(artifact.id, nothing) == str(refusals[1]), "it looks as if there were none"
    assert face.get(artifact.id, tenant="a") == artifact


def test_a_listing_has_every_artifact_once_in_the_order_of_creation(face: Any) -> None:
    put = [face.put(b"x", name=str(number), run_id=f"run_{number % 2}", submission_id=f"sub_{number % 3}") for number in range(11)]
    put.sort(key=lambda artifact: (artifact.created_at, artifact.id))
    face.put(b"x", name="other", tenant="other")
    found, cursor = [], None
    while True:
        page = face.list(limit=4, cursor=cursor)
        found.extend(page.artifacts)
        if (cursor := page.next_cursor) is None:
            break
    assert found == put
    assert face.list(run_id="run_1").artifacts == [artifact for artifact in put if artifact.run_id == "run_1"]
    both = face.list(run_id="run_1", submission_id="sub_2")
    assert both.artifacts == [artifact for artifact in put if (artifact.run_id, artifact.submission_id) == ("run_1", "sub_2")]
    assert both.next_cursor is None
    for cursor in ("", "x", "bm9uc2Vuc2U", "W10"):
        with pytest.raises(InvalidInputError):
            face.list(cursor=cursor)
    with pytest.raises(InvalidInputError):
        face.list(limit=0)


@places("seaweedfs-s3fs", "seaweedfs-obstore")
def test_a_url_expires_within_seven_days(face: Any) -> None:
    import urllib.request

    artifact = face.put(b"data", name="x", content_type="text/plain")
    with urllib.request.urlopen(face.url(artifact.id, 60)) as answer:
        assert answer.read() == b"data"
        assert answer.headers["Content-Type"] == "text/plain"
    for lifetime in (0, -1, 8 * 24 * 3600):
        with pytest.raises(InvalidInputError):
            face.url(artifact.id, lifetime)


async def test_an_async_file_iterates_and_closes(bench: Bench) -> None:
    async with bench.aflue() as aflue:
        artifact = await aflue.artifacts.put(DATA, name="x")
        async with await aflue.artifacts.open(artifact.id, verify=True) as file:
            assert file.size == len(DATA)
            assert b"".join([chunk async for chunk in file]) == DATA
            assert await file.read() == b""


@EVERYWHERE
async def test_a_cancelled_read_takes_nothing_from_the_next_one(bench: Bench) -> None:
    async with bench.aflue() as aflue:
        artifact = await aflue.artifacts.put(DATA, name="x")
        async with await aflue.artifacts.open(artifact.id, verify=True) as file:
            assert await file.read(3) == DATA[:3]
            for turns in (1, 2, 5, 10, 20, 50, 100, 200, 500):
                reading = asyncio.create_task(file.read())
                for _ in range(turns):
                    await asyncio.sleep(0)
                reading.cancel()
                await asyncio.wait([reading])
                if reading.cancelled():
                    assert file.tell() == 3
                file.seek(3)
            assert await file.read() == DATA[3:]


@pytest.mark.databases("sqlite", "postgres", "mariadb")
async def test_a_cancellation_that_a_driver_swallows_still_counts(bench: Bench) -> None:
    async with bench.aflue() as aflue:
        artifact = await aflue.artifacts.put(b"x", name="x")
        for turns in [*range(1, 40)] * 3:
            asking = asyncio.create_task(aflue.artifacts.get(artifact.id))
            for _ in range(turns):
                await asyncio.sleep(0)
            if asking.cancel():
                await asyncio.wait([asking])
                assert asking.cancelled()
