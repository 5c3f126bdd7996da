"""The store port, shown on every engine and server that we can start."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from flue_sqla.artifacts import StoreOptions
from flue_sqla.artifacts.factory import async_store
from flue_sqla.artifacts.keys import storage_key
from flue_sqla.artifacts.store import ObjectStore
from flue_sqla.errors import ArtifactStoreError, InvalidInputError
from flue_sqla.wire import new_id
from tests.artifacts.conftest import HOSTILE_PLACES, LOCAL_PLACES, S3_PLACES, places

EVERYWHERE = places(*LOCAL_PLACES, *S3_PLACES, *HOSTILE_PLACES)
MIB = 1024 * 1024
KEY = storage_key("tenant", new_id("art"))


def write(store: ObjectStore, key: str, *parts: bytes) -> bytes:
    upload = store.begin(key)
    for part in parts:
        upload.send(part)
    upload.complete()
    return b"".join(parts)


@EVERYWHERE
@pytest.mark.parametrize("sizes", [(), (0,), (1,), (10_000,), (5 * MIB, 5 * MIB, 77)], ids=str)
def test_what_was_written_is_read(store: ObjectStore, sizes: tuple[int, ...]) -> None:
    before = time.time_ns() // 1_000_000
    data = write(store, "tenant/one", *(os.urandom(size) for size in sizes))
    with store.open("tenant/one", len(data)) as file:
        assert file.read() == data
    found = store.stat("tenant/one")
    assert found is not None
    assert found.size == len(data)
    assert before - 2000 <= found.modified_at <= time.time_ns() // 1_000_000 + 2000


@EVERYWHERE
def test_files_seek_and_ranges_are_exact(store: ObjectStore) -> None:
    data = write(store, "tenant/one", os.urandom(5 * MIB), os.urandom(3 * MIB))
    with store.open("tenant/one", len(data)) as file:
        for position, count in [(0, 10), (7 * MIB, 10), (MIB - 3, 6), (5 * MIB - 1, 2), (8 * MIB - 4, 100), (8 * MIB, 5), (0, 3)]:
            assert file.seek(position) == position
            assert file.read(count) == data[position : position + count]
            assert file.tell() == min(position + count, len(data))
        file.seek(-5, os.SEEK_END)
        assert file.read() == data[-5:]
    for start, end in [(0, 1), (3, 3), (5 * MIB - 2, 5 * MIB + 2), (8 * MIB - 1, 8 * MIB), (8 * MIB - 1, 9 * MIB), (9 * MIB, 10 * MIB)]:
        assert store.read_range("tenant/one", start, end) == data[start:end]


@EVERYWHERE
def test_absent_objects(store: ObjectStore) -> None:
    write(store, "tenant/one", b"a store that exists")
    assert store.stat("tenant/none") is None
    store.delete("tenant/none")
    with pytest.raises(ArtifactStoreError) as caught:
        store.read_range("tenant/none", 0, 5)
    assert caught.value.meta["reason"] == "missing"
    assert caught.value.remedy


@EVERYWHERE
def test_an_aborted_upload_leaves_nothing(store: ObjectStore) -> None:
    for parts in [(), (b"x",), (os.urandom(5 * MIB), os.urandom(5 * MIB), b"y")]:
        upload = store.begin(KEY)
        for part in parts:
            upload.send(part)
        upload.abort()
        upload.abort()
        assert store.stat(KEY) is None
    assert list(store.list()) == []
    # Nothing unfinished is left either, where the store can tell.
    assert store.discard_uploads(time.time_ns() // 1_000_000 + 60_000) in (0, None)


@EVERYWHERE
def test_listing_is_complete_and_by_prefix(store: ObjectStore) -> None:
    for tenant in ("a", "b", "ab"):
        for number in range(3):
            write(store, f"{tenant}/{number}", b"x" * number)
    assert {info.key: info.size for info in store.list("a/")} == {f"a/{number}": number for number in range(3)}
    assert len(list(store.list())) == 9
    store.delete("a/1")
    store.delete("a/1")
    assert {info.key for info in store.list("a/")} == {"a/0", "a/2"}


@EVERYWHERE
@pytest.mark.parametrize("key", ["../x", "a/../x", "a//b", "/a", "a/", "", ".", "a/.b", "a/%2e%2e", "a\\b", "a/b\n", "a/" + "x" * 256])
def test_no_key_leads_out_of_the_root(store: ObjectStore, key: str) -> None:
    for attempt in (lambda: store.begin(key).complete(), lambda: store.stat(key), lambda: store.delete(key), lambda: store.open(key, 1)):
        with pytest.raises(InvalidInputError):
            attempt()


@EVERYWHERE
@pytest.mark.parametrize(
    "tenant", ["../..", "a/b", ".", "ÄÖ\U0001f600", "x" * 255, "\U0001f600" * 255, "a b?c#d%e&f=g", "%2e%2e%2f", "CON", " "]
)
def test_hostile_tenants_are_only_names(store: ObjectStore, tenant: str) -> None:
    key = storage_key(tenant, "art_1")
    write(store, key, b"data")
    assert [info.key for info in store.list()] == [key]
    assert store.read_range(key, 0, 4) == b"data"


@EVERYWHERE
def test_the_store_of_a_loop_is_the_same_store(store: ObjectStore, place: StoreOptions) -> None:
    write(store, "tenant/one", b"written by the blocking store")

    async def use() -> None:
        native = async_store(place, store)
        upload = native.begin("tenant/two")
        await upload.send(os.urandom(5 * MIB))
        await upload.send(b"end")
        await upload.complete()
        assert await native.read_range("tenant/one", 0, 7) == b"written"
        assert {info.key async for info in native.list()} == {"tenant/one", "tenant/two"}
        reader = await native.open("tenant/two", 5 * MIB + 3)
        reader.seek(5 * MIB)
        assert await reader.read() == b"end"
        await reader.aclose()
        await native.delete("tenant/one")
        if place.scheme == "s3":
            await native.close()

    asyncio.run(use())
    assert store.stat("tenant/one") is None
    assert store.read_range("tenant/two", 5 * MIB, 5 * MIB + 3) == b"end"


@places("seaweedfs-s3fs", "seaweedfs-obstore", "moto-s3fs")
def test_a_signed_url_reads_without_credentials(store: ObjectStore) -> None:
    import urllib.request

    write(store, "tenant/one", b"public for a minute")
    with urllib.request.urlopen(store.presign("tenant/one", 60)) as answer:
        assert answer.read() == b"public for a minute"


@places("memory", "folder", "fsspec")
def test_a_store_without_urls_says_so(store: ObjectStore) -> None:
    write(store, "tenant/one", b"x")
    with pytest.raises(ArtifactStoreError) as caught:
        store.presign("tenant/one", 60)
    assert caught.value.meta["reason"] == "unsupported"


@places("folder")
def test_a_folder_keeps_files_private_and_never_replaces_one(store: ObjectStore, place: StoreOptions) -> None:
    from flue_sqla.errors import ArtifactConflictError

    write(store, "tenant/one", b"first")
    path = place.folder / "tenant" / "one"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    second = store.begin("tenant/one")
    second.send(b"second")
    with pytest.raises(ArtifactConflictError):
        second.complete()
    second.abort()
    assert path.read_bytes() == b"first"
    assert not [*(place.folder / ".incoming").iterdir()]


@places("folder")
def test_a_link_out_of_the_folder_is_not_followed(store: ObjectStore, place: StoreOptions) -> None:
    write(store, "tenant/one", b"x")
    (place.folder.parent / "secret").write_bytes(b"secret")
    (place.folder / "tenant" / "two").symlink_to(place.folder.parent / "secret")
    assert store.stat("tenant/two") is None
    assert [info.key for info in store.list()] == ["tenant/one"]
    for attempt in (lambda: store.open("tenant/two", 6), lambda: store.read_range("tenant/two", 0, 6)):
        with pytest.raises(ArtifactStoreError):
            attempt()


@places("folder", *S3_PLACES)
def test_old_unfinished_uploads_are_found(store: ObjectStore) -> None:
    upload = store.begin(KEY)
    for _ in range(4):
        upload.send(os.urandom(5 * MIB))
    now = time.time_ns() // 1_000_000
    assert store.discard_uploads(now - 3_600_000) == 0, "an upload that is alive"
    assert store.discard_uploads(now + 60_000) == 1
    with pytest.raises(ArtifactStoreError):
        upload.complete()
    upload.abort()
    assert store.stat(KEY) is None


@places("seaweedfs-obstore")
def test_obstore_alone_cannot_tell_which_uploads_are_unfinished(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from flue_sqla.artifacts import obstore_store

    monkeypatch.setattr(obstore_store, "find_spec", lambda name: None)
    assert store.discard_uploads(time.time_ns() // 1_000_000) is None


@places("seaweedfs-s3fs", "seaweedfs-obstore")
def test_listing_more_than_a_page(store: ObjectStore) -> None:
    async def fill() -> None:
        native = store._running()[1]  # type: ignore[attr-defined]
        for start in range(0, 1050, 50):
            await asyncio.gather(*(native.begin(f"many/{number}").complete() for number in range(start, start + 50)))

    store._running()[0].call(fill())  # type: ignore[attr-defined]
    assert {info.key for info in store.list("many/")} == {f"many/{number}" for number in range(1050)}
