"""A store that fails on purpose: typed errors after bounded retries, no half-visible artifact, and a process that lives on."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from flue_sqla import Flue
from flue_sqla.artifacts import Artifacts, StoreOptions, Stores
from flue_sqla.artifacts.keys import storage_key
from flue_sqla.errors import ArtifactStoreError
from flue_sqla.wire import new_id
from tests.artifacts.conftest import content, s3_options, stored_keys
from tests.artifacts.proxy import FaultProxy, refused_endpoint
from tests.databases.contract import Database

pytestmark = [pytest.mark.stores, pytest.mark.faults, pytest.mark.databases("sqlite")]
MIB = 1024 * 1024
SIZES = [100, 17 * MIB]
ATTEMPTS = 3


@pytest.fixture
def proxy(seaweedfs: Any) -> Iterator[FaultProxy]:
    address = urlsplit(seaweedfs.endpoint)
    made = FaultProxy((address.hostname or "", address.port or 0))
    yield made
    made.close()


@pytest.fixture(params=["s3fs", "obstore"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def direct(seaweedfs: Any) -> StoreOptions:
    """The way around the proxy."""
    return s3_options(seaweedfs, "s3fs")


@pytest.fixture
def faulty(seaweedfs: Any, proxy: FaultProxy, engine: str) -> StoreOptions:
    return s3_options(seaweedfs, engine, endpoint=proxy.endpoint, max_attempts=ATTEMPTS, connect_timeout_ms=1000, read_timeout_ms=2000)


@pytest.fixture
def artifacts(migrated: Database, faulty: StoreOptions) -> Iterator[Artifacts]:
    flue = Flue(migrated.url)
    flue._stores._options = faulty
    yield flue.artifacts
    flue.close()


def is_upload(method: str, path: str) -> bool:
    return method == "PUT"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fault", ["500", "drop", "cut", "lose answer", "hang"])
def test_a_put_that_keeps_failing_is_a_typed_error_and_leaves_nothing(
    artifacts: Artifacts, proxy: FaultProxy, direct: StoreOptions, size: int, fault: str
) -> None:
    artifacts.put(b"before", name="x")
    kept = stored_keys(direct)
    proxy.requests.clear()
    proxy.fault = lambda method, path: fault if is_upload(method, path) else None
    started = time.monotonic()
    with pytest.raises(ArtifactStoreError) as caught:
        artifacts.put(os.urandom(size), name="x")
    assert time.monotonic() - started < 30
    assert caught.value.meta["reason"] in ("server_error", "unreachable", "timeout", "incomplete", "failed")
    assert caught.value.remedy
    tries: dict[str, int] = {}
    for request in proxy.requests:
        if request.startswith("PUT "):
            tries[request] = tries.get(request, 0) + 1
    # The HTTP client of s3fs repeats once by itself what it sent on a connection that turned out to be closed.
    assert max(tries.values()) <= 2 * ATTEMPTS, "retries are bounded"
    proxy.fault = lambda method, path: None
    assert len(artifacts.list().artifacts) == 1
    assert stored_keys(direct) == kept
    assert unfinished(direct) == []
    after = artifacts.put(os.urandom(size), name="x")
    assert content(artifacts, after)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fault", ["500", "drop", "cut", "lose answer"])
def test_a_fault_that_passes_is_not_noticed(artifacts: Artifacts, proxy: FaultProxy, direct: StoreOptions, size: int, fault: str) -> None:
    """Including the answer to a write that arrived: the repetition must not be taken for a conflict."""
    failed: set[str] = set()

    def once(method: str, path: str) -> str | None:
        if method in ("PUT", "GET") and (method, path) not in failed and len(failed) < 2:
            failed.add((method, path))  # type: ignore[arg-type]
            return fault
        return None

    proxy.fault = once
    data = os.urandom(size)
    artifact = artifacts.put(data, name="x")
    assert failed
    failed.clear()
    assert content(artifacts, artifact) == data
    assert stored_keys(direct) == {artifact.storage_key}
    assert unfinished(direct) == []


def test_a_completion_whose_answer_is_lost_is_recognised(artifacts: Artifacts, proxy: FaultProxy, direct: StoreOptions) -> None:
    lost = []

    def lose(method: str, path: str) -> str | None:
        if method == "POST" and "uploadId=" in path and not lost:
            lost.append(path)
            return "lose answer"
        return None

    proxy.fault = lose
    data = os.urandom(17 * MIB)
    try:
        artifact = artifacts.put(data, name="x")
    except ArtifactStoreError:
        # An engine that cannot tell must at least leave nothing.
        assert stored_keys(direct) == set()
    else:
        assert content(artifacts, artifact) == data
    assert lost


@pytest.mark.parametrize("fault", ["500", "drop", "cut answer", "hang"])
def test_a_read_that_keeps_failing(artifacts: Artifacts, proxy: FaultProxy, fault: str) -> None:
    data = os.urandom(17 * MIB)
    artifact = artifacts.put(data, name="x")
    proxy.fault = lambda method, path: fault if method == "GET" else None
    with pytest.raises(ArtifactStoreError), artifacts.open(artifact.id) as file:
        file.read()
    with pytest.raises(ArtifactStoreError):
        artifacts.read_range(artifact.id, 5, 10)
    proxy.fault = lambda method, path: None
    assert content(artifacts, artifact) == data


def test_a_body_that_breaks_off_once_is_read_again(artifacts: Artifacts, proxy: FaultProxy) -> None:
    data = os.urandom(17 * MIB)
    artifact = artifacts.put(data, name="x")
    broken = []

    def once(method: str, path: str) -> str | None:
        if method == "GET" and len(broken) < 2:
            broken.append(path)
            return "cut answer"
        return None

    proxy.fault = once
    assert content(artifacts, artifact) == data
    assert broken


@pytest.mark.parametrize("size", [10, 9 * MIB])
def test_a_server_that_ignores_ranges_is_only_slow(migrated: Database, moto_s3: Any, engine: str, size: int) -> None:
    address = urlsplit(moto_s3.endpoint)
    proxy = FaultProxy((address.hostname or "", address.port or 0))
    proxy.fault = lambda method, path: "whole" if method == "GET" else None
    data = os.urandom(size)
    with Flue(migrated.url) as flue:
        flue._stores._options = s3_options(moto_s3, engine, endpoint=proxy.endpoint)
        artifact = flue.artifacts.put(data, name="x")
        for start, end in [(0, 3), (size // 2, size // 2 + 3), (size - 1, size), (0, size)]:
            assert flue.artifacts.read_range(artifact.id, start, end) == data[start:end]
        assert content(flue.artifacts, artifact) == data
    proxy.close()


def test_a_dead_endpoint_is_reported_within_seconds(migrated: Database, seaweedfs: Any, engine: str) -> None:
    with refused_endpoint() as endpoint, Flue(migrated.url) as flue:
        flue._stores._options = s3_options(seaweedfs, engine, endpoint=endpoint, max_attempts=ATTEMPTS)
        started = time.monotonic()
        with pytest.raises(ArtifactStoreError) as caught:
            flue.artifacts.put(b"x", name="x")
        assert caught.value.meta["reason"] == "unreachable"
        assert time.monotonic() - started < 9
        assert flue.artifacts.list().artifacts == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"secret_access_key": "wrong-secret"}, "denied"), ({"access_key_id": "nobody"}, "denied")],
    ids=["secret", "key"],
)
def test_what_is_wrong_is_said_without_a_secret(
    migrated: Database, seaweedfs: Any, engine: str, change: dict[str, str], reason: str
) -> None:
    options = replace(s3_options(seaweedfs, engine, max_attempts=1), **change)  # type: ignore[arg-type]
    with Flue(migrated.url) as flue:
        flue._stores = Stores(options)
        for size in (10, 12 * MIB):
            with pytest.raises(ArtifactStoreError) as caught:
                flue.artifacts.put(os.urandom(size), name="x")
            assert caught.value.meta["reason"] == reason
            shown = f"{caught.value!r} {caught.value.meta} {caught.value.remedy} {options!r} {caught.value.__cause__!r}"
            assert "secret" not in shown.replace("its secret", "")
            assert options.secret_access_key is not None
            assert options.secret_access_key not in shown


def test_a_missing_bucket_is_named_as_such(migrated: Database, moto_s3: Any, engine: str) -> None:
    # SeaweedFS creates a bucket for whoever may; the fake does not.
    with Flue(migrated.url) as flue:
        flue._stores = Stores(replace(s3_options(moto_s3, engine), url="s3://no-such-bucket"))
        for size in (10, 12 * MIB):
            with pytest.raises(ArtifactStoreError) as caught:
                flue.artifacts.put(os.urandom(size), name="x")
            assert caught.value.meta["reason"] == "bucket_missing"


async def test_a_cancelled_put_leaves_nothing(migrated: Database, proxy: FaultProxy, faulty: StoreOptions, direct: StoreOptions) -> None:
    """At every request of an upload in turn: the first, one in the middle, and the one that completes it."""
    from flue_sqla.asyncio import AsyncFlue

    async with AsyncFlue(migrated.async_url) as aflue:
        aflue.sync._stores._options = faulty
        await aflue.artifacts.put(b"warm", name="x")
        kept = await asyncio.to_thread(stored_keys, direct)
        loop = asyncio.get_running_loop()
        for nth in range(1, 7):
            reached = asyncio.Event()
            seen: list[str] = []

            def watch(method: str, path: str, nth: int = nth, reached: asyncio.Event = reached, seen: list[str] = seen) -> None:
                seen.append(path)
                if len(seen) == nth:
                    loop.call_soon_threadsafe(reached.set)

            proxy.fault = watch
            task = asyncio.create_task(aflue.artifacts.put(os.urandom(17 * MIB), name="x"))
            waiting = asyncio.create_task(reached.wait())
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                assert await asyncio.to_thread(stored_keys, direct) == kept, f"cancelled at request {nth}"
                assert await asyncio.to_thread(unfinished, direct) == []
            else:
                kept.add(task.result().storage_key)
        assert len((await aflue.artifacts.list()).artifacts) == len(kept)


def test_a_sweep_is_not_disturbed_by_uploads_that_end_while_it_looks(artifacts: Artifacts, proxy: FaultProxy, direct: StoreOptions) -> None:
    key = storage_key("tenant", new_id("art"))
    client = boto_client(direct)
    place = {"Bucket": direct.bucket, "Key": f"{direct.prefix}/{key}"}
    upload = client.create_multipart_upload(**place)["UploadId"]
    ended: list[str] = []

    def end(method: str, path: str) -> None:
        if "uploads" in path and not ended:
            ended.append(path)
            client.abort_multipart_upload(**place, UploadId=upload)

    proxy.answered = end
    assert artifacts.sweep(grace_ms=-60_000, repair=True).uploads == 0
    assert ended


def unfinished(options: StoreOptions) -> list[str]:
    """Multipart uploads that were neither completed nor aborted."""
    listed = boto_client(options).list_multipart_uploads(Bucket=options.bucket)
    return [upload["Key"] for upload in listed.get("Uploads", [])]


def boto_client(options: StoreOptions) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=options.endpoint,
        aws_access_key_id=options.access_key_id,
        aws_secret_access_key=options.secret_access_key,
        region_name=options.region,
    )
