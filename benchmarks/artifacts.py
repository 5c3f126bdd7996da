"""Artifacts beside the plain clients on one object store: throughput, peak memory growth, and the cost of a small artifact.

    python -m benchmarks.artifacts [--mib 512] [--small 2000] [--rounds 3] [--only put,open,small] [--endpoint URL --key K --secret S]

Each measurement runs in a process of its own, so that one's memory is not another's, and the ways take turns, so that a busy machine is
equally busy for all: medians are given, and the median of each round's ratio to the plain way of the same engine. Without ``--endpoint``
a SeaweedFS is started. Sources and sinks are files in memory; our figures include SHA-256, the row in SQLite and the read-ahead file; the
others hash nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MIB = 1024 * 1024
PART = 8 * MIB
PARALLEL = 4
READ = MIB
SMALL = 10_000
AT_ONCE = 32

PUT = ["ours s3fs", "s3fs open(wb)", "s3fs put_file", "ours obstore", "obstore put", "boto3 upload_fileobj", "ours folder", "folder copy"]
OPEN = ["ours s3fs", "s3fs open(rb)", "ours obstore", "obstore open_reader", "boto3 get_object", "ours folder", "folder open"]
SMALLS = ["ours s3fs", "s3fs pipe_file", "ours obstore", "obstore put", "ours folder", "ours memory"]
"""``ours memory`` stores no bytes anywhere: what it costs is the row, and our own steps."""

PLAIN = {
    "put": {"ours s3fs": "s3fs put_file", "ours obstore": "obstore put", "ours folder": "folder copy"},
    "open": {"ours s3fs": "s3fs open(rb)", "ours obstore": "obstore open_reader", "ours folder": "folder open"},
    "small": {"ours s3fs": "s3fs pipe_file", "ours obstore": "obstore put"},
}
"""The fastest way of the same engine with the same kind of access, which ours is compared with."""


class Place:
    """The object store of the benchmark, and a folder in memory."""

    def __init__(self, endpoint: str, key: str, secret: str, bucket: str, folder: str) -> None:
        self.endpoint, self.key, self.secret, self.bucket, self.folder = endpoint, key, secret, bucket, Path(folder)

    @property
    def source(self) -> Path:
        return self.folder / "source"

    def s3fs(self) -> Any:
        import s3fs

        given = {"key": self.key, "secret": self.secret, "endpoint_url": self.endpoint, "client_kwargs": {"region_name": "us-east-1"}}
        return s3fs.S3FileSystem(**given, skip_instance_cache=True, use_listings_cache=False, max_concurrency=PARALLEL)

    def obstore(self) -> Any:
        from obstore.store import S3Store

        return S3Store(
            self.bucket,
            endpoint=self.endpoint,
            access_key_id=self.key,
            secret_access_key=self.secret,
            region="us-east-1",
            client_options={"allow_http": True, "timeout": "60s"},
        )

    def boto3(self) -> Any:
        import boto3

        given = {"aws_access_key_id": self.key, "aws_secret_access_key": self.secret, "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.endpoint, **given)

    def options(self, engine: str) -> Any:
        from flue_sqla.artifacts import StoreOptions

        if engine == "memory":
            return StoreOptions(url="memory://")
        if engine == "folder":
            return StoreOptions(url=str(self.folder / "artifacts"))
        return StoreOptions(
            url=f"s3://{self.bucket}/ours",
            engine=engine,  # type: ignore[arg-type]
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=self.key,
            secret_access_key=self.secret,
            part_size=PART,
            concurrency=PARALLEL,
        )


# -- memory ---------------------------------------------------------------------------------------------------------------------


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Peak:
    """The largest growth of this process's resident memory inside the block."""

    def __enter__(self) -> Peak:
        self._base = self._most = resident()
        self._end = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._watcher.join()
        self.growth = (self._most - self._base) // MIB

    def _watch(self) -> None:
        while not self._end.wait(0.002):
            self._most = max(self._most, resident())


# -- the ways -------------------------------------------------------------------------------------------------------------------


@contextmanager
def ours(place: Place, engine: str) -> Iterator[Any]:
    from flue_sqla import Flue
    from flue_sqla.artifacts import Artifacts, Stores

    flue = Flue(f"sqlite:///{place.folder}/rows-{os.getpid()}.db")
    flue.boot()
    stores = Stores(place.options(engine))
    yield Artifacts(flue._scope, stores)
    stores.close()
    flue.close()


def put_ours(place: Place, engine: str) -> Callable[[], object]:
    context = ours(place, engine)
    artifacts = context.__enter__()
    artifacts.put(os.urandom(PART * 3), name="warm-up")

    def put() -> None:
        with place.source.open("rb", buffering=0) as source:
            Path(place.folder / f"id-{engine}").write_text(artifacts.put(source, name="big").storage_key)

    return put


def put_plain(place: Place, way: str) -> Callable[[], object]:
    if way == "folder copy":

        def copy() -> None:
            with place.source.open("rb", buffering=0) as source, open(place.folder / "copy", "wb", buffering=0) as target:
                while data := source.read(4 * MIB):
                    target.write(data)
                os.fsync(target.fileno())

        return copy
    if way.startswith("s3fs"):
        fs = place.s3fs()
        fs.pipe_file(f"{place.bucket}/warm-up", os.urandom(PART))
        if way == "s3fs put_file":
            return lambda: fs.put_file(str(place.source), f"{place.bucket}/plain", chunksize=PART)

        def stream() -> None:
            with place.source.open("rb", buffering=0) as source, fs.open(f"{place.bucket}/plain", "wb", block_size=PART) as target:
                while data := source.read(PART):
                    target.write(data)

        return stream
    if way == "obstore put":
        import obstore

        store = place.obstore()
        obstore.put(store, "warm-up", os.urandom(PART))

        def chunks() -> Iterator[bytes]:
            with place.source.open("rb", buffering=0) as source:
                while data := source.read(PART):
                    yield data

        return lambda: obstore.put(store, "plain", chunks(), chunk_size=PART, max_concurrency=PARALLEL)
    from boto3.s3.transfer import TransferConfig

    client = place.boto3()
    client.put_object(Bucket=place.bucket, Key="warm-up", Body=os.urandom(PART))
    config = TransferConfig(multipart_chunksize=PART, max_concurrency=PARALLEL)
    return lambda: client.upload_fileobj(io.FileIO(place.source), place.bucket, "plain", Config=config)


def open_ours(place: Place, engine: str, size: int) -> Callable[[], object]:
    context = ours(place, engine)
    artifacts = context.__enter__()
    artifacts.put(os.urandom(PART * 3), name="warm-up")
    key = Path(place.folder / f"id-{engine}").read_text()
    return lambda: drain(artifacts._stores.blocking().open(key, size), size)


def open_plain(place: Place, way: str, size: int) -> Callable[[], object]:
    if way == "folder open":
        return lambda: drain(open(place.folder / "copy", "rb", buffering=MIB), size)
    if way.startswith("s3fs"):
        fs = place.s3fs()
        fs.cat_file(f"{place.bucket}/warm-up")
        return lambda: drain(fs.open(f"{place.bucket}/plain", "rb", block_size=4 * MIB), size)
    if way == "obstore open_reader":
        import obstore

        store = place.obstore()
        obstore.get(store, "warm-up").bytes()
        return lambda: drain(obstore.open_reader(store, "plain", buffer_size=4 * MIB), size)
    client = place.boto3()
    return lambda: drain(client.get_object(Bucket=place.bucket, Key="plain")["Body"], size)


def drain(file: Any, size: int) -> None:
    received = 0
    while data := file.read(READ):
        received += len(data)
    file.close()
    if received != size:
        raise SystemExit(f"read {received} of {size} bytes")


async def small(place: Place, way: str, count: int) -> float:
    """Seconds for ``count`` small objects, 32 at once."""
    body = os.urandom(SMALL)
    turn = asyncio.Semaphore(AT_ONCE)

    async def measure(one: Callable[[int], Any]) -> float:
        async def guarded(number: int) -> None:
            async with turn:
                await one(number)

        await asyncio.gather(*(guarded(-1 - number) for number in range(AT_ONCE)))
        started = time.perf_counter()
        await asyncio.gather(*(guarded(number) for number in range(count)))
        return time.perf_counter() - started

    if way.startswith("ours"):
        from flue_sqla.artifacts import AsyncArtifacts, Stores
        from flue_sqla.asyncio import AsyncFlue

        async with AsyncFlue(f"sqlite+aiosqlite:///{place.folder}/small-{os.getpid()}.db") as flue:
            await flue.boot()
            stores = Stores(place.options(way.removeprefix("ours ")))
            artifacts = AsyncArtifacts(flue.sync._scope, stores)
            seconds = await measure(lambda _: artifacts.put(body, name="small"))
            await stores.aclose()
            return seconds
    if way.startswith("s3fs"):
        import s3fs

        given = {"key": place.key, "secret": place.secret, "endpoint_url": place.endpoint, "client_kwargs": {"region_name": "us-east-1"}}
        fs = s3fs.S3FileSystem(**given, asynchronous=True, skip_instance_cache=True, use_listings_cache=False)
        session = await fs.set_session()
        seconds = await measure(lambda number: fs._pipe_file(f"{place.bucket}/small/{number}", body))
        await session.close()
        return seconds
    store = place.obstore()
    return await measure(lambda number: store.put_async(f"small/{number}", body))


# -- one measurement in a process of its own --------------------------------------------------------------------------------------


def child(place: Place, kind: str, way: str, amount: int) -> None:
    if kind == "small":
        print(json.dumps({"seconds": asyncio.run(small(place, way, amount)), "peak": 0}))
        return
    size = amount * MIB
    if way.startswith("ours"):
        engine = way.removeprefix("ours ")
        action = put_ours(place, engine) if kind == "put" else open_ours(place, engine, size)
    else:
        action = put_plain(place, way) if kind == "put" else open_plain(place, way, size)
    with Peak() as peak:
        started, cpu = time.perf_counter(), time.process_time()
        action()
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak.growth}), flush=True)
    os._exit(0)  # no time is spent on closing clients


def measure(arguments: argparse.Namespace, place: Place) -> dict[str, dict[str, list[dict[str, float]]]]:
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    for kind, ways in (("put", PUT), ("open", OPEN), ("small", SMALLS)):
        if kind not in arguments.only.split(","):
            continue
        amount = arguments.small if kind == "small" else arguments.mib
        for turn in range(arguments.rounds):
            for way in ways if turn % 2 == 0 else reversed(ways):
                command = [sys.executable, "-m", "benchmarks.artifacts", "--child", kind, way, str(amount)]
                environment = {**os.environ, "FLUE_BENCH_PLACE": json.dumps([str(value) for value in vars(place).values()])}
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    print(f"{kind:6} {way:22} failed: {done.stderr.strip().splitlines()[-1:]}")
                    continue
                results.setdefault(kind, {}).setdefault(way, []).append(json.loads(done.stdout.splitlines()[-1]))
    return results


def report(results: dict[str, dict[str, list[dict[str, float]]]], arguments: argparse.Namespace) -> None:
    for kind, ways in results.items():
        for way, runs in ways.items():
            usual = statistics.median(run["seconds"] for run in runs)
            plain = PLAIN[kind].get(way)
            compared = f"  {ratio(ways[plain], runs):.2f} of {plain}" if plain in ways else ""
            if kind == "small":
                print(f"{kind:6} {way:22} {usual / arguments.small * 1e6:8.0f} µs each {arguments.small / usual:8.0f} /s{compared}")
            else:
                peak, cpu = max(run["peak"] for run in runs), statistics.median(run["cpu"] for run in runs)
                print(f"{kind:6} {way:22} {arguments.mib / usual:8.0f} MiB/s  peak +{peak:.0f} MiB  cpu {cpu:.2f} s{compared}")


def ratio(plain: list[dict[str, float]], ours: list[dict[str, float]]) -> float:
    """How many times as fast as the plain way: the median over the rounds."""
    return statistics.median(one["seconds"] / other["seconds"] for one, other in zip(plain, ours, strict=False))


@contextmanager
def object_store(arguments: argparse.Namespace) -> Iterator[Place]:
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = tempfile.mkdtemp(prefix="flue-bench-", dir=memory)
    try:
        if arguments.endpoint:
            yield Place(arguments.endpoint, arguments.key, arguments.secret, arguments.bucket, folder)
        else:
            from tests.databases.stores import S3Server, _weed

            server = S3Server("seaweedfs", _weed)
            try:
                bucket = server.bucket()
                yield Place(bucket.endpoint, bucket.access_key, bucket.secret_key, bucket.bucket, folder)
            finally:
                server.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] == "--child":
        child(Place(*json.loads(os.environ["FLUE_BENCH_PLACE"])), sys.argv[2], sys.argv[3], int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--small", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="put,open,small")
    parser.add_argument("--endpoint")
    parser.add_argument("--key", default="")
    parser.add_argument("--secret", default="")
    parser.add_argument("--bucket", default="flue-bench")
    arguments = parser.parse_args()
    with object_store(arguments) as place:
        block = os.urandom(64 * MIB)
        with place.source.open("wb") as source:
            for written in range(0, arguments.mib * MIB, len(block)):
                source.write(block[: arguments.mib * MIB - written])
        report(measure(arguments, place), arguments)


if __name__ == "__main__":
    main()
