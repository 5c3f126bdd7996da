"""The stores and the two faces that the artifact tests run over.

``place``  options of one store: memory, a folder, a generic fsspec filesystem, and S3 through both engines
``face``   ``flue.artifacts`` on that store, blocking or async, under the same blocking names
"""

from __future__ import annotations

import asyncio
import inspect
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flue_sqla import Flue, FlueSettings
from flue_sqla.artifacts import StoreOptions
from flue_sqla.artifacts.factory import blocking_store
from flue_sqla.artifacts.store import ObjectStore
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.records import Artifact
from tests.databases.contract import Database

LOCAL_PLACES = ["memory", "folder", "fsspec"]
S3_PLACES = ["seaweedfs-s3fs", "seaweedfs-obstore"]
HOSTILE_PLACES = ["moto-s3fs", "rclone-s3fs", "rclone-obstore"]


def places(*names: str) -> pytest.MarkDecorator:
    """Run a test over these stores."""
    marks = {name: [pytest.mark.stores] if "-" in name else [] for name in names}
    return pytest.mark.parametrize("place", [pytest.param(name, marks=marks[name]) for name in names], indirect=True)


def s3_options(store: Any, engine: str, **more: Any) -> StoreOptions:
    """Options for a bucket of the test servers."""
    given: dict[str, Any] = {
        "endpoint": store.endpoint,
        "region": store.region,
        "access_key_id": store.access_key,
        "secret_access_key": store.secret_key,
        "force_path_style": True,
        "part_size": 5 * 1024 * 1024,
    }
    return StoreOptions(**{"url": f"s3://{store.bucket}/some/prefix", "engine": engine, **given, **more})


def make_place(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> StoreOptions:
    server, _, engine = name.partition("-")
    if engine:
        fixture = {"moto": "moto_s3", "rclone": "rclone_s3"}.get(server, server)
        return s3_options(request.getfixturevalue(fixture), engine)
    if name == "fsspec":
        _register_fsspec_scheme()
        return StoreOptions(url=f"elsewhere://{tmp_path}/fsspec")
    return StoreOptions(url=f"memory://{tmp_path.name}" if name == "memory" else str(tmp_path / "artifacts"))


def _register_fsspec_scheme() -> None:
    """fsspec's own folder filesystem under a scheme that is not ours: the generic store over real files."""
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    class Elsewhere(LocalFileSystem):  # type: ignore[misc]
        protocol = "elsewhere"

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return str(path).removeprefix("elsewhere://").rstrip("/")

    fsspec.register_implementation("elsewhere", Elsewhere, clobber=True)


@pytest.fixture(params=LOCAL_PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> StoreOptions:
    """One empty store."""
    return make_place(request.param, request, tmp_path)


@pytest.fixture
def store(place: StoreOptions) -> Iterator[ObjectStore]:
    """The port itself, for blocking callers."""
    opened = blocking_store(place)
    yield opened
    opened.close()


class AsyncFace:
    """``aflue.artifacts`` under blocking names, so that one test body shows both faces."""

    def __init__(self, flue: AsyncFlue, runner: asyncio.Runner) -> None:
        self.flue = flue
        self.runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.flue.artifacts, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if inspect.iscoroutinefunction(method):
                return self.runner.run(method(*args, **kwargs))
            return method(*args, **kwargs)

        return call

    def open(self, artifact_id: str, **kwargs: Any) -> AsyncFileFace:
        return AsyncFileFace(self.runner.run(self.flue.artifacts.open(artifact_id, **kwargs)), self.runner)


class AsyncFileFace:
    """An async file under blocking names."""

    def __init__(self, file: Any, runner: asyncio.Runner) -> None:
        self._file = file
        self._runner = runner
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._runner.run(self._file.read(size))
        return data

    def close(self) -> None:
        self._runner.run(self._file.aclose())

    def __enter__(self) -> AsyncFileFace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Bench:
    """One Flue per face on one database and one store."""

    def __init__(self, database: Database, options: StoreOptions, runner: asyncio.Runner) -> None:
        self.database, self.options, self.runner = database, options, runner
        self._flues: list[Flue] = []
        self._aflues: list[AsyncFlue] = []

    def flue(self, **more: Any) -> Flue:
        made = Flue(self.database.url, **more)
        made._stores._options = self.options
        self._flues.append(made)
        return made

    def aflue(self, **more: Any) -> AsyncFlue:
        made = AsyncFlue(self.database.async_url, **more)
        made.sync._stores._options = self.options
        self._aflues.append(made)
        return made

    def close(self) -> None:
        for flue in self._flues:
            flue.close()
        for aflue in self._aflues:
            self.runner.run(aflue.close())


@pytest.fixture
def bench(migrated: Database, place: StoreOptions, runner: asyncio.Runner) -> Iterator[Bench]:
    """Makes Flues on the test's database and store."""
    made = Bench(migrated, place, runner)
    yield made
    made.close()


@pytest.fixture(params=["blocking", "async"])
def face(request: pytest.FixtureRequest, bench: Bench) -> Any:
    """``artifacts`` of either face, under the same names."""
    return bench.flue().artifacts if request.param == "blocking" else AsyncFace(bench.aflue(), bench.runner)


def settings_of(options: StoreOptions) -> FlueSettings:
    """Settings that lead to these options."""
    return FlueSettings(
        artifacts=options.url,
        artifact_engine=options.engine,
        s3_endpoint=options.endpoint,
        s3_region=options.region,
        s3_access_key_id=options.access_key_id,
        s3_secret_access_key=options.secret_access_key,
        s3_force_path_style=True,
    )


def stored_keys(options: StoreOptions) -> set[str]:
    """What lies in the store, seen by a client of the test's own."""
    opened = blocking_store(replace(options))
    try:
        return {info.key for info in opened.list()}
    finally:
        opened.close()


def content(face: Any, artifact: Artifact) -> bytes:
    """All bytes of an artifact, verified."""
    with face.open(artifact.id, tenant=artifact.tenant, verify=True) as file:
        data: bytes = file.read()
    return data


class Slow(io.RawIOBase):
    """A binary file that gives its bytes in awkward pieces."""

    def __init__(self, data: bytes, piece: int) -> None:
        self._left = memoryview(data)
        self._piece = piece

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        count = min(self._piece, len(self._left), size if size >= 0 else self._piece)
        piece, self._left = bytes(self._left[:count]), self._left[count:]
        return piece
