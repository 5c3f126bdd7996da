"""S3 through obstore: the faster engine, a Rust client with one dependency.

Its runtime does not survive a fork: in a child of a process that used it every call would hang, so it is refused there. Cancelling its
upload would leave the parts behind; an upload is therefore ended by an error out of the iterator that feeds it, which makes obstore abort.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

from flue_sqla.artifacts.failures import failure
from flue_sqla.artifacts.keys import check_key
from flue_sqla.artifacts.obstore_failures import is_range_error, is_whole_answer, obstore_failures
from flue_sqla.artifacts.options import StoreOptions
from flue_sqla.artifacts.parts import MIB, PartPlan
from flue_sqla.artifacts.readahead import Pace
from flue_sqla.artifacts.readers import AsyncRangeReader, cut_out
from flue_sqla.artifacts.store import AsyncReader, Buffer, ObjectInfo
from flue_sqla.errors import ConfigurationError

__all__ = ["ObstoreStore", "ObstoreUpload", "usable_here"]

_started_in: list[int] = []
_GROWTH = 16
_HANDED_OVER = 2 * MIB


def usable_here() -> bool:
    """Whether obstore can run in this process: not in a forked child of one that has used it."""
    return not _started_in or _started_in[0] == os.getpid()


class ObstoreStore:
    """One bucket and prefix. Connects on first use; nothing is sent before."""

    kind = "s3"

    def __init__(self, options: StoreOptions) -> None:
        self._options = options
        # The client cuts the stream into parts by itself; what we hand over only has to be small beside them.
        self.plan = PartPlan(_HANDED_OVER, 2**40)
        # Smaller blocks than s3fs has: obstore holds the pieces of an answer and the whole of it at once.
        self.pace = Pace(2 * MIB, options.concurrency)
        self._root = f"{options.prefix}/" if options.prefix else ""
        self._client: Any = None

    def begin(self, key: str, *, size: int | None = None, content_type: str | None = None) -> ObstoreUpload:
        return ObstoreUpload(self, key, self._options.plan.uniform(size or 0), content_type)

    async def open(self, key: str, size: int) -> AsyncReader:
        return AsyncRangeReader(size, lambda start, end: self.fetch(key, start, end), self.pace)

    async def read_range(self, key: str, start: int, end: int) -> bytes:
        return bytes(await self.fetch(key, start, end))

    async def fetch(self, key: str, start: int, end: int) -> Buffer:
        if start >= end:
            return b""
        with obstore_failures("read", key):
            try:
                return memoryview(await self.client.get_range_async(self.path(key), start=start, end=end))
            except Exception as error:
                if is_range_error(error):
                    return b""
                if not is_whole_answer(error):
                    raise
                answer = await self.client.get_async(self.path(key))
                return await cut_out(answer.stream(min_chunk_size=self.pace.block), start, end)

    async def stat(self, key: str) -> ObjectInfo | None:
        with obstore_failures("look at", key):
            try:
                return self._info(await self.client.head_async(self.path(key)))
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

    async def delete(self, key: str) -> None:
        with obstore_failures("delete", key):
            try:
                await self.client.delete_async(self.path(key))
            except FileNotFoundError:
                return

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        # obstore takes whole path components as a prefix, so the rest is filtered here.
        folder = (self._root + prefix).rpartition("/")[0]
        with obstore_failures("list", prefix):
            async for page in self.client.list(folder or None, chunk_size=1000):
                for entry in page:
                    info = self._info(entry)
                    if info.key.startswith(prefix):
                        yield info

    async def presign(self, key: str, expires_in: int) -> str:
        import obstore

        with obstore_failures("presign", key):
            url: str = await obstore.sign_async(self.client, "GET", self.path(key), timedelta(seconds=expires_in))
            return url

    async def discard_uploads(self, older_than: int) -> int | None:
        # obstore has no call that lists them: where s3fs is not there to do it, a lifecycle rule of the bucket has to.
        if find_spec("s3fs") is None:
            return None
        from flue_sqla.artifacts.s3 import S3Store

        other = S3Store(self._options)
        try:
            return await other.discard_uploads(older_than)
        finally:
            await other.close()

    async def create(self) -> None:
        raise failure("create the bucket", None, "unsupported", detail="obstore cannot create buckets; use artifact_engine=s3fs once")

    async def close(self) -> None:
        self._client = None

    @property
    def client(self) -> Any:
        """The obstore client, made on first use."""
        if not usable_here():
            raise failure(
                "be used",
                None,
                "forked",
                detail="obstore does not work in a forked child of a process that used it; start processes with spawn, or use s3fs",
            )
        if self._client is None:
            self._client = _client(self._options)
            _started_in[:] = [os.getpid()]
        return self._client

    @property
    def concurrency(self) -> int:
        """How many parts are sent at once."""
        return self._options.concurrency

    @property
    def max_parts(self) -> int:
        """How many parts one upload may have."""
        return self._options.max_parts

    def path(self, key: str) -> str:
        """The object's full name in the bucket."""
        return self._root + check_key(key)

    def _info(self, entry: Any) -> ObjectInfo:
        return ObjectInfo(entry["path"][len(self._root) :], int(entry["size"]), int(entry["last_modified"].timestamp() * 1000))


class _Aborted(Exception):
    """Thrown out of the feeding iterator to make obstore discard the parts."""


class ObstoreUpload:
    """A stream handed to obstore piece by piece; what fits into one part is one request.

    obstore fixes the part size at the start. A stream of unknown length that outgrows ``max_parts`` of them is completed under its key,
    which no row names yet, and continued as an upload with larger parts that begins with those bytes.
    """

    def __init__(self, store: ObstoreStore, key: str, chunk_size: int, content_type: str | None) -> None:
        self._store = store
        self._key = key
        self._path = store.path(key)
        self._chunk_size = chunk_size
        self._attributes = {"Content-Type": content_type} if content_type else None
        self._head: list[Buffer] = []
        self._head_size = 0
        self._parts: asyncio.Queue[Buffer | BaseException | None] = asyncio.Queue(1)
        self._put: asyncio.Future[Any] | None = None
        self._sent = 0
        self._may_be_visible = False

    async def send(self, part: Buffer) -> None:
        if self._put is None and self._head_size + len(part) <= self._chunk_size:
            self._head.append(part)
            self._head_size += len(part)
            return
        if self._put is None:
            self._put = self._start(0)
            head, self._head = self._head, []
            for held in head:
                await self._hand_over(held)
        if self._sent + len(part) > self._chunk_size * self._store.max_parts:
            await self._grow()
        await self._hand_over(part)

    async def complete(self) -> None:
        self._may_be_visible = True
        with obstore_failures("write", self._key):
            if self._put is None:
                body = b"".join(self._head)
                self._put = put = asyncio.ensure_future(
                    self._store.client.put_async(self._path, body, attributes=self._attributes, use_multipart=False)
                )
                await asyncio.shield(put)
            else:
                await self._finish()

    async def abort(self) -> None:
        with obstore_failures("discard", self._key):
            if self._put is not None and not self._put.done():
                while not self._parts.empty():
                    self._parts.get_nowait()
                self._parts.put_nowait(_Aborted())
                await asyncio.wait([self._put])
            if self._put is not None and not self._put.cancelled():
                self._put.exception()
            self._put = None
            if self._may_be_visible:
                await self._store.delete(self._key)

    def _start(self, already: int) -> asyncio.Future[Any]:
        put: asyncio.Future[Any] = asyncio.ensure_future(
            self._store.client.put_async(
                self._path,
                self._feed(already),
                attributes=self._attributes,
                use_multipart=True,
                chunk_size=self._chunk_size,
                max_concurrency=self._store.concurrency,
            )
        )
        return put

    async def _feed(self, already: int) -> AsyncIterator[Buffer]:
        for start in range(0, already, self._store.pace.block):
            yield await self._store.read_range(self._key, start, min(already, start + self._store.pace.block))
        while (part := await self._parts.get()) is not None:
            if isinstance(part, BaseException):
                raise part
            yield part

    async def _hand_over(self, part: Buffer | None) -> None:
        """Queue ``part``; a failed upload ends the wait, since nobody would take it."""
        assert self._put is not None
        handing = asyncio.ensure_future(self._parts.put(part))
        try:
            await asyncio.wait([handing, self._put], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not handing.done():
                handing.cancel()
        if self._put.done():
            with obstore_failures("write", self._key):
                self._put.result()
        self._sent += len(part or b"")

    async def _finish(self) -> None:
        assert self._put is not None
        await self._hand_over(None)
        await asyncio.shield(self._put)

    async def _grow(self) -> None:
        self._may_be_visible = True
        with obstore_failures("write", self._key):
            await self._finish()
        self._chunk_size *= _GROWTH
        self._put = self._start(self._sent)


def _client(options: StoreOptions) -> Any:
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise ConfigurationError("artifact_engine is obstore, which is not installed.", remedy="Install flue-sqla[obstore].") from error
    from flue_sqla.artifacts.obstore_credentials import credential_options

    return S3Store(
        options.bucket,
        **credential_options(options),
        **_endpoint(options),
        region=options.region or "us-east-1",
        client_options={
            "allow_http": (options.endpoint or "").startswith("http://"),
            "connect_timeout": timedelta(milliseconds=options.connect_timeout_ms),
            "timeout": timedelta(milliseconds=options.read_timeout_ms),
        },
        retry_config={
            "max_retries": options.max_attempts - 1,
            "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
        },
    )


def _endpoint(options: StoreOptions) -> dict[str, Any]:
    if options.endpoint is None:
        return {"virtual_hosted_style_request": not options.path_style}
    if options.path_style:
        return {"endpoint": options.endpoint, "virtual_hosted_style_request": False}
    # With the bucket in the host name obstore wants the whole host as its endpoint.
    scheme, _, host = options.endpoint.partition("://")
    return {"endpoint": f"{scheme}://{options.bucket}.{host}", "virtual_hosted_style_request": True}
