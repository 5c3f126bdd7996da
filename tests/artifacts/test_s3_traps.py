"""Each known trap of s3fs and obstore, shown not to be one here. The numbers are those of docs/artifacts.md."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.loaders import JSONFileLoader

from flue_sqla.artifacts import Stores
from flue_sqla.artifacts.factory import blocking_store
from flue_sqla.artifacts.s3_failures import s3_failure
from flue_sqla.errors import ArtifactStoreError
from tests.artifacts.conftest import content, places, s3_options, stored_keys

pytestmark = [pytest.mark.stores, pytest.mark.databases("sqlite")]
MIB = 1024 * 1024


class Broken(Exception):
    pass


def broken(size: int) -> Iterator[bytes]:
    for _ in range(size // MIB):
        yield os.urandom(MIB)
    raise Broken


@places("seaweedfs-s3fs", "seaweedfs-obstore", "rclone-s3fs", "rclone-obstore")
def test_1_a_body_that_raises_publishes_nothing(bench: Any, place: Any) -> None:
    for size in (0, 3 * MIB, 12 * MIB):
        with pytest.raises(Broken):
            bench.flue().artifacts.put(broken(size), name="x")
        assert stored_keys(place) == set()


# 2 (whole files in memory) is measured in test_memory.py.


@places("moto-s3fs", "rclone-s3fs", "rclone-obstore", "seaweedfs-s3fs", "seaweedfs-obstore")
def test_3_and_4_no_put_depends_on_an_exclusive_create(bench: Any, place: Any) -> None:
    """Keys are never used twice and the row's unique key decides, so a server may ignore If-None-Match."""
    artifacts = bench.flue().artifacts
    stored = [artifacts.put(data, name="same") for data in (b"", b"one", os.urandom(11 * MIB))]
    assert len({artifact.storage_key for artifact in stored}) == 3
    assert stored_keys(place) == {artifact.storage_key for artifact in stored}


@pytest.mark.parametrize(
    ("code", "raised"), [("PreconditionFailed", FileExistsError("File exists")), ("PreconditionFailed", OSError(22, "Invalid argument"))]
)
def test_3_the_servers_code_counts_and_not_the_kind_of_os_error(code: str, raised: OSError) -> None:
    class ClientError(Exception):
        response = {"Error": {"Code": code}}  # noqa: RUF012

    raised.__cause__ = ClientError()
    assert s3_failure("write", "k", raised).meta == {"operation": "write", "key": "k", "reason": "exists", "code": code}


# 5 (a cancelled upload leaves its parts behind) is test_faults.test_a_cancelled_put_leaves_nothing.


@places("seaweedfs-s3fs", "seaweedfs-obstore")
def test_6_listings_are_never_remembered(place: Any) -> None:
    first, second = blocking_store(place), blocking_store(place)
    assert list(first.list()) == []
    second.begin("tenant/one").complete()
    assert [info.key for info in first.list()] == ["tenant/one"]
    second.delete("tenant/one")
    assert list(first.list()) == []
    assert first.stat("tenant/one") is None
    first.close()
    second.close()


def test_7_instances_belong_to_one_loop_and_are_never_shared(seaweedfs: Any) -> None:
    import s3fs

    options = s3_options(seaweedfs, "s3fs")
    cached = dict(s3fs.S3FileSystem._cache)
    stores = Stores(options)
    seen: list[Any] = []

    async def use() -> None:
        store = stores.of_loop()
        assert store is stores.of_loop()
        await store.begin("tenant/one").complete()
        seen.append(store._fs)  # type: ignore[attr-defined]
        await stores.aclose()
        assert store._fs is None  # type: ignore[attr-defined]

    for _ in range(3):
        asyncio.run(use())
    assert len({id(fs) for fs in seen}) == 3
    assert all(fs.asynchronous and fs._s3._endpoint.http_session._sessions is None for fs in seen), "closed explicitly"
    assert dict(s3fs.S3FileSystem._cache) == cached, "nothing of ours is in fsspec's global cache"


def test_7_a_client_for_another_loop_reads_no_service_description_again(seaweedfs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    load = JSONFileLoader.load_file
    monkeypatch.setattr(JSONFileLoader, "load_file", lambda self, path: read.append(path) or load(self, path))

    async def use() -> None:
        stores = Stores(s3_options(seaweedfs, "s3fs"))
        assert await stores.of_loop().stat("tenant/none") is None
        await stores.aclose()

    asyncio.run(use())
    read.clear()
    asyncio.run(use())
    assert read == []


@pytest.mark.parametrize("end", ["stores.close()", "del stores", "pass"])
def test_7_nothing_is_left_open(seaweedfs: Any, end: str) -> None:
    """Also when the blocking face is not closed but forgotten."""
    script = f"""
import asyncio, gc, warnings
warnings.simplefilter("error")
from flue_sqla.artifacts import Stores, StoreOptions
options = StoreOptions(url={seaweedfs.url!r}, endpoint={seaweedfs.endpoint!r}, access_key_id={seaweedfs.access_key!r},
                       secret_access_key={seaweedfs.secret_key!r}, region="us-east-1", force_path_style=True)
async def use():
    stores = Stores(options)
    await stores.of_loop().begin("tenant/one").complete()
    await stores.aclose()
asyncio.run(use())
stores = Stores(options)
stores.blocking().begin("tenant/two").complete()
{end}
gc.collect()
print("done")
"""
    done = subprocess.run([sys.executable, "-X", "dev", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "done\n", done.stderr
    assert "Unclosed" not in done.stderr


@places("seaweedfs-s3fs", "seaweedfs-obstore")
def test_7_an_open_file_outlives_its_flue(migrated: Any, place: Any) -> None:
    from tests.artifacts.crash import flue_on

    flue = flue_on(migrated.url, place)
    data = os.urandom(9 * MIB)
    file = flue.artifacts.open(flue.artifacts.put(data, name="x").id)
    del flue
    gc.collect()
    with file:
        assert file.read() == data


@places("seaweedfs-s3fs", "seaweedfs-obstore")
def test_7_a_file_of_a_closed_flue_says_so(migrated: Any, place: Any) -> None:
    from tests.artifacts.crash import flue_on

    with flue_on(migrated.url, place) as flue:
        file = flue.artifacts.open(flue.artifacts.put(os.urandom(9 * MIB), name="x").id)
    with file, pytest.raises(ArtifactStoreError) as caught:
        file.read()
    assert caught.value.meta["reason"] == "closed"


@places("seaweedfs-s3fs", "seaweedfs-obstore", "folder")
@pytest.mark.filterwarnings("ignore:unclosed", "ignore:Unclosed")
def test_7_a_loop_that_ended_without_a_close_is_given_up(place: Any) -> None:
    """Its sockets too: a server that runs every request in a loop of its own must not run out of them."""
    stores = Stores(place)
    ended: list[weakref.ref[Any]] = []

    async def use() -> None:
        ended.append(weakref.ref(asyncio.get_running_loop()))
        assert await stores.of_loop().stat("tenant/none") is None

    for _ in range(3):
        asyncio.run(use())
    gc.collect()
    assert [loop() for loop in ended[:-1]] == [None, None]
    stores.close()


@places("seaweedfs-s3fs", "seaweedfs-obstore", "folder")
def test_8_the_blocking_face_works_inside_a_running_loop(bench: Any) -> None:
    artifacts = bench.flue().artifacts

    async def use() -> bytes:
        artifact = artifacts.put(os.urandom(11 * MIB), name="x")
        assert len(content(artifacts, artifact)) == 11 * MIB
        assert artifacts.sweep(grace_ms=0).clean
        data: bytes = artifacts.read_range(artifact.id, 3, 8)
        return data

    assert len(asyncio.run(asyncio.wait_for(use(), 60))) == 5


@places("seaweedfs-s3fs", "seaweedfs-obstore", "folder")
async def test_8_the_async_face_never_blocks_the_loop_for_long(bench: Any) -> None:
    async with bench.aflue() as aflue:
        await aflue.artifacts.put(b"warm", name="x")
        gaps, running = [0.0], True

        async def watch() -> None:
            while running:
                before = time.perf_counter()
                await asyncio.sleep(0)
                gaps.append(time.perf_counter() - before)
                await asyncio.sleep(0.001)

        watcher = asyncio.create_task(watch())
        artifact = await aflue.artifacts.put(os.urandom(25 * MIB), name="x")
        async with await aflue.artifacts.open(artifact.id, verify=True) as file:
            assert len(await file.read()) == 25 * MIB
        running = False
        await watcher
        assert max(gaps) < 1.0, "generous, since other tests share the machine"


FORKED = """
import os, sys, signal
from flue_sqla import Flue, FlueSettings
from flue_sqla.errors import ArtifactStoreError
database, engine, use_in_parent = sys.argv[1:4]
flue = Flue(database, settings=FlueSettings.from_env(artifact_engine=engine))
flue.boot()
first = flue.artifacts.put(b"parent", name="x") if use_in_parent == "used" else None
file = flue.artifacts.open(first.id) if first else None
pid = os.fork()
if pid == 0:
    signal.alarm(30)
    child = flue.artifacts.put(os.urandom(12_000_000), name="y")
    assert len(flue.artifacts.open(child.id).read()) == 12_000_000
    if first:
        assert flue.artifacts.open(first.id).read() == b"parent"
    flue.close()
    os._exit(7)
_, status = os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(status) == 7, status
if file:
    assert file.read() == b"parent"
assert flue.artifacts.put(b"parent again", name="x").size == 12
print("agreed", len(flue.artifacts.list().artifacts))
flue.close()
"""


@pytest.mark.parametrize("used", ["used", "unused"])
@pytest.mark.parametrize("engine", ["s3fs", "obstore"])
def test_9_a_forked_child_gets_clients_of_its_own(database: Any, seaweedfs: Any, engine: str, used: str) -> None:
    """With obstore the child of a process that has used it falls back to s3fs: its runtime would hang for ever."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, database.url, engine, used],
        env={**os.environ, **seaweedfs.environment()},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.stdout.startswith("agreed"), done.stderr


def test_9_without_s3fs_a_forked_child_is_told_so(seaweedfs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from flue_sqla.artifacts import factory, obstore_store

    monkeypatch.setattr(obstore_store, "_started_in", [os.getpid() + 1])
    monkeypatch.setattr(factory, "find_spec", lambda name: None)
    store = blocking_store(s3_options(seaweedfs, "obstore"))
    with pytest.raises(ArtifactStoreError) as caught:
        store.stat("tenant/one")
    assert caught.value.meta["reason"] == "forked"
    store.close()


@places("seaweedfs-s3fs", "seaweedfs-obstore")
def test_10_a_failed_range_is_raised_and_not_returned(place: Any) -> None:
    store = blocking_store(place)
    with pytest.raises(ArtifactStoreError), store.open("tenant/none", 100) as file:
        file.read()
    store.close()


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", None])
def test_11_a_bucket_can_be_created_in_every_region(moto_s3: Any, region: str | None) -> None:
    options = s3_options(moto_s3, "s3fs", region=region, url=f"s3://made-{region or 'anywhere'}/prefix")
    store = blocking_store(options)
    store.create()
    store.create()
    store.begin("tenant/one").complete()
    assert [info.key for info in store.list()] == ["tenant/one"]
    store.close()


# 12 (a dead endpoint takes 11 s to say so) is test_faults.test_a_dead_endpoint_is_reported_within_seconds.


@places("memory", "folder", "seaweedfs-s3fs", "seaweedfs-obstore")
def test_many_threads_share_one_store(bench: Any) -> None:
    artifacts = bench.flue().artifacts
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(5):
                data = os.urandom(50_000 + number)
                artifact = artifacts.put(data, name=str(number), tenant=f"t{number}")
                assert content(artifacts, artifact) == data
                assert artifacts.delete(artifact.id, tenant=f"t{number}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@places("seaweedfs-s3fs", "seaweedfs-obstore")
async def test_many_tasks_share_one_store(bench: Any) -> None:
    async with bench.aflue() as aflue:

        async def work(number: int) -> None:
            data = os.urandom(10_000 + number)
            artifact = await aflue.artifacts.put(data, name="x")
            assert await aflue.artifacts.read_range(artifact.id, 0) == data

        await asyncio.gather(*(work(number) for number in range(64)))
        assert len((await aflue.artifacts.list(limit=100)).artifacts) == 64


def test_a_role_is_assumed_with_the_given_key(moto_s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only that the chain works; the fake checks no signature."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto_s3.endpoint)
    for engine in ("s3fs", "obstore"):
        store = blocking_store(s3_options(moto_s3, engine, role_arn="arn:aws:iam::123456789012:role/artifacts"))
        upload = store.begin("tenant/one")
        upload.send(b"data")
        upload.complete()
        assert store.read_range("tenant/one", 0, 4) == b"data"
        assert "ASIA" in store.presign("tenant/one", 60), "temporary credentials"
        store.close()


def test_a_profile_gives_the_credentials(seaweedfs: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "credentials"
    path.write_text(f"[artifacts]\naws_access_key_id = {seaweedfs.access_key}\naws_secret_access_key = {seaweedfs.secret_key}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    for engine in ("s3fs", "obstore"):
        store = blocking_store(s3_options(seaweedfs, engine, access_key_id=None, secret_access_key=None, profile="artifacts"))
        store.begin("tenant/one").complete()
        assert store.stat("tenant/one") is not None
        store.close()
        missing = blocking_store(s3_options(seaweedfs, engine, access_key_id=None, secret_access_key=None, profile="nobody"))
        with pytest.raises(Exception, match=r"nobody|denied|not"):
            missing.stat("tenant/one")
