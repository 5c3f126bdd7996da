"""put: every kind of source, on both faces; limits and digests enforced on the way, leaving nothing."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.util import await_only

from flue_sqla.artifacts import StoreOptions, flows
from flue_sqla.errors import ArtifactIntegrityError, ArtifactTooLargeError, InvalidInputError, ValueTooLargeError
from flue_sqla.records import Artifact
from tests.artifacts.conftest import LOCAL_PLACES, S3_PLACES, Bench, Slow, content, places, stored_keys

pytestmark = pytest.mark.databases("sqlite")
EVERYWHERE = places(*LOCAL_PLACES, *S3_PLACES)
MIB = 1024 * 1024
DATA = os.urandom(11 * MIB + 7)


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@EVERYWHERE
@pytest.mark.parametrize("size", [0, 1, 10_000, len(DATA)])
def test_the_row_says_what_was_stored(face: Any, size: int) -> None:
    data = DATA[:size]
    artifact = face.put(
        data,
        name="Bericht Ä.pdf",
        content_type="application/pdf",
        run_id="run_1",
        submission_id="sub_1",
        metadata={"b": [1, None], "a": "ü"},
    )
    assert (artifact.size, artifact.sha256) == (size, hashlib.sha256(data).hexdigest())
    assert face.get(artifact.id) == artifact
    assert list(artifact.metadata) == ["b", "a"], "metadata keeps the order of its keys"
    assert content(face, artifact) == data
    assert Artifact.from_wire(artifact.to_wire()) == artifact


def advanced(file: Any) -> Any:
    file.seek(7)
    return file


KINDS: dict[str, Callable[[Path], Any]] = {
    "bytearray": lambda path: bytearray(DATA),
    "memoryview": lambda path: memoryview(DATA),
    "path": lambda path: path,
    "path as text": str,
    "file": lambda path: path.open("rb"),
    "unbuffered file": lambda path: path.open("rb", buffering=0),
    "file from where it stands": lambda path: advanced(io.BytesIO(b"skipped" + DATA)),
    "file in awkward pieces": lambda path: Slow(DATA, 70_001),
    "iterator": lambda path: chunks(DATA, 99_999),
    "iterator of one large chunk": lambda path: iter([DATA]),
    "iterator with empty chunks": lambda path: iter([b"", DATA[:5], b"", DATA[5:], b""]),
    "list": lambda path: [DATA[:MIB], DATA[MIB:]],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_source(face: Any, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    source = KINDS[kind](path)
    artifact = face.put(source, name="x")
    assert artifact.sha256 == hashlib.sha256(DATA).hexdigest()
    if hasattr(source, "read"):
        assert not source.closed, "what the caller opened stays open"
        source.close()


async def test_async_sources(bench: Bench) -> None:
    async with bench.aflue() as aflue:

        async def generator() -> AsyncIterator[bytes]:
            for chunk in chunks(DATA, 300_000):
                yield chunk

        class Upload:
            """As the upload object of a web framework: ``read`` is a coroutine."""

            def __init__(self) -> None:
                self._file = io.BytesIO(DATA)

            async def read(self, size: int) -> bytes:
                return self._file.read(size)

        for source in (generator(), Upload()):
            artifact = await aflue.artifacts.put(source, name="x")
            assert artifact.sha256 == hashlib.sha256(DATA).hexdigest()


def test_an_async_source_needs_the_async_face(bench: Bench) -> None:
    async def generator() -> AsyncIterator[bytes]:
        yield b"x"

    with pytest.raises(InvalidInputError):
        bench.flue().artifacts.put(generator(), name="x")


@pytest.mark.parametrize(
    "source",
    [5, None, ["text"], [b"bytes", None, b"more"], io.StringIO("text"), "/no/such/file", "no\0file", "/tmp"],
    ids=["number", "nothing", "texts", "nothing between bytes", "text file", "no file", "no file name", "folder"],
)
def test_what_is_no_source(face: Any, place: StoreOptions, source: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        face.put(source, name="x")
    assert caught.value.remedy
    assert stored_keys(place) == set()
    assert face.list().artifacts == []


def test_views_are_measured_in_bytes_and_not_in_items(face: Any, place: StoreOptions) -> None:
    numbers = memoryview(array("I", range(1000)))
    for source, data in [(numbers, numbers.tobytes()), ([numbers], numbers.tobytes()), (numbers[::3], numbers[::3].tobytes())]:
        with pytest.raises(ArtifactTooLargeError):
            face.put(source, name="x", max_bytes=len(data) - 1)
        assert stored_keys(place) == set()
        stored = face.put(source, name="x", max_bytes=len(data))
        assert content(face, stored) == data
        face.delete(stored.id)


def test_a_source_that_raises_what_ends_an_iteration_does_not_hang(face: Any, place: StoreOptions) -> None:
    class Exhausted:
        def read(self, size: int) -> bytes:
            return next(iter(()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        face.put(Exhausted(), name="x")
    assert stored_keys(place) == set()


@pytest.mark.databases("sqlite", "postgres", "mariadb")
async def test_a_put_that_is_cancelled_at_its_row_is_whole_or_nothing(bench: Bench, place: StoreOptions) -> None:
    async with bench.aflue() as aflue:
        await aflue.artifacts.put(b"warm", name="x")

        def cancel(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("INSERT"):
                task.cancel()

        sa.event.listen(aflue.engine.sync_engine, "before_cursor_execute", cancel)
        task = asyncio.create_task(aflue.artifacts.put(b"cancelled", name="x"))
        await asyncio.wait([task])
        assert task.cancelled()
        keys = {artifact.storage_key for artifact in (await aflue.artifacts.list()).artifacts}
        assert await asyncio.to_thread(stored_keys, place) == keys


async def test_a_cancelled_put_does_not_wait_for_ever_for_a_database(
    bench: Bench, place: StoreOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "_ROW_PATIENCE", 0.01)
    async with bench.aflue() as aflue:
        await aflue.artifacts.put(b"warm", name="x")
        reached = asyncio.Event()

        def hang(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("INSERT"):
                reached.set()
                await_only(asyncio.Event().wait())

        sa.event.listen(aflue.engine.sync_engine, "before_cursor_execute", hang)
        task = asyncio.create_task(aflue.artifacts.put(b"cancelled", name="x"))
        await reached.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        sa.event.remove(aflue.engine.sync_engine, "before_cursor_execute", hang)
        assert len((await aflue.artifacts.sweep(grace_ms=-60_000, repair=True)).orphans) == 1


@EVERYWHERE
@pytest.mark.parametrize("streamed", [True, False], ids=["unknown length", "known length"])
@pytest.mark.parametrize("limit", [0, 100, 6 * MIB, len(DATA) - 1])
def test_max_bytes_leaves_nothing(face: Any, place: StoreOptions, limit: int, streamed: bool) -> None:
    taken = []

    def counted() -> Iterator[bytes]:
        for chunk in chunks(DATA, 100_000):
            taken.append(len(chunk))
            yield chunk

    with pytest.raises(ArtifactTooLargeError) as caught:
        face.put(counted() if streamed else DATA, name="x", max_bytes=limit)
    assert caught.value.meta["maxBytes"] == limit
    assert sum(taken) <= limit + 100_000, "the source is not read to its end"
    assert stored_keys(place) == set()
    assert face.list().artifacts == []
    assert face.put(DATA, name="x", max_bytes=len(DATA)).size == len(DATA)


@EVERYWHERE
@pytest.mark.parametrize("size", [0, 100, len(DATA)])
def test_a_wrong_digest_is_refused_and_leaves_nothing(face: Any, place: StoreOptions, size: int) -> None:
    data = DATA[:size]
    with pytest.raises(ArtifactIntegrityError):
        face.put(data, name="x", expected_sha256="0" * 64)
    assert stored_keys(place) == set()
    assert face.list().artifacts == []
    right = hashlib.sha256(data).hexdigest()
    assert face.put(data, name="x", expected_sha256=right.upper()).sha256 == right


@EVERYWHERE
@pytest.mark.parametrize("size", [100, 6 * MIB, len(DATA)])
def test_a_source_that_fails_leaves_nothing(face: Any, place: StoreOptions, size: int) -> None:
    class Broken(Exception):
        pass

    def failing() -> Iterator[bytes]:
        yield from chunks(DATA[:size], 1_000_000)
        raise Broken

    with pytest.raises(Broken):
        face.put(failing(), name="x")
    assert stored_keys(place) == set()
    assert face.list().artifacts == []


def test_a_second_put_never_replaces(face: Any) -> None:
    first = face.put(b"first", name="same")
    second = face.put(b"second", name="same")
    assert first.id != second.id
    assert (content(face, first), content(face, second)) == (b"first", b"second")


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": ""},
        {"name": "nul\0"},
        {"name": "lone \ud800"},
        {"name": 5},
        {"name": None},
        {"name": "x", "tenant": None},
        {"name": "x", "tenant": ""},
        {"name": "x", "tenant": "t" * 256},
        {"name": "x", "tenant": "nul\0"},
        {"name": "x", "content_type": "a\r\nx-evil: 1"},
        {"name": "x", "content_type": "t" * 256},
        {"name": "x", "run_id": "r" * 256},
        {"name": "x", "metadata": {"x": object()}},
        {"name": "x", "metadata": {"x": float("nan")}},
        {"name": "x", "expected_sha256": "abc"},
        {"name": "x", "max_bytes": -1},
    ],
    ids=lambda arguments: f"{list(arguments)[-1]} {str(list(arguments.values())[-1])[:8].encode('unicode_escape').decode()}".partition("<")[
        0
    ],
)
def test_arguments_that_cannot_be_stored_are_refused_before_a_byte_is(face: Any, place: StoreOptions, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        face.put(b"x", **arguments)
    assert stored_keys(place) == set()


@pytest.mark.databases("mariadb")
@pytest.mark.parametrize("large", [{"name": "x" * 17 * MIB}, {"name": "x", "metadata": {"x": "'" * 9 * MIB}}], ids=["name", "metadata"])
def test_what_exceeds_a_statement_is_refused_and_leaves_no_bytes(face: Any, place: StoreOptions, large: dict[str, Any]) -> None:
    """Sent, it would cost the connection, and nobody could tell whether the row is there."""
    with pytest.raises(ValueTooLargeError):
        face.put(b"x", **large)
    assert stored_keys(place) == set()


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b\\c", "\u202egnp.exe", "'; DROP TABLE flue_artifacts; --", "x" * 5000, "\n"])
def test_hostile_names_are_only_names(face: Any, place: StoreOptions, name: str) -> None:
    artifact = face.put(b"x", name=name)
    assert face.get(artifact.id).name == name
    assert stored_keys(place) == {artifact.storage_key}
    assert name not in artifact.storage_key


@places("seaweedfs-s3fs", "seaweedfs-obstore")
@pytest.mark.parametrize("face", ["blocking"], indirect=True)
def test_a_small_part_limit_does_not_end_a_stream_of_unknown_length(face: Any, place: StoreOptions, bench: Bench) -> None:
    """Four parts of 5 MiB hold 20 MiB; the stream has 45."""
    from dataclasses import replace

    bench.options = replace(place, max_parts=4)
    artifacts = bench.flue().artifacts
    data = os.urandom(45 * MIB)
    artifact = artifacts.put(chunks(data, 777_777), name="long")
    assert content(artifacts, artifact) == data
    assert stored_keys(place) == {artifact.storage_key}
    with pytest.raises(ArtifactTooLargeError):
        artifacts.put(chunks(data, 777_777), name="long", max_bytes=44 * MIB)
    assert stored_keys(place) == {artifact.storage_key}
