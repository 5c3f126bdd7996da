"""S3 through s3fs: its session, credentials and error handling, but requests of our own.

s3fs's file objects publish a truncated object when a body raises, upload one part after another or hold the whole file, and leave the
multipart upload behind when a task is cancelled; so parts are sent here. An instance belongs to one event loop, is never shared through
fsspec's cache, keeps no listings, and is closed explicitly.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from flue_sqla.artifacts.keys import check_key, is_storage_key
from flue_sqla.artifacts.options import StoreOptions
from flue_sqla.artifacts.parts import MIB
from flue_sqla.artifacts.readahead import Pace
from flue_sqla.artifacts.readers import AsyncRangeReader, cut_out
from flue_sqla.artifacts.s3_failures import s3_code, s3_failures
from flue_sqla.artifacts.s3_upload import S3Upload
from flue_sqla.artifacts.store import AsyncReader, Buffer, ObjectInfo
from flue_sqla.errors import ConfigurationError

__all__ = ["S3Store"]

_READ_ATTEMPTS = 3
_SENT_AT_ONCE = 256 * 1024
_ABSENT = frozenset({"404", "NoSuchKey", "NoSuchUpload", "NotFound"})
_OWNED = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})


class S3Store:
    """One bucket and prefix, used from one event loop. Connects on first use; nothing is sent before."""

    kind = "s3"

    def __init__(self, options: StoreOptions) -> None:
        self._options = options
        self._bucket = options.bucket
        self._root = f"{options.prefix}/" if options.prefix else ""
        self.plan = options.plan
        self.pace = Pace(4 * MIB, options.concurrency)
        self._fs: Any = None
        self._connecting = asyncio.Lock()

    def begin(self, key: str, *, size: int | None = None, content_type: str | None = None) -> S3Upload:
        headers = {"ContentType": content_type} if content_type else {}
        return S3Upload(self._request, self._place(key), key, headers, self._options.concurrency * self._options.part_size)

    async def open(self, key: str, size: int) -> AsyncReader:
        return AsyncRangeReader(size, lambda start, end: self.fetch(key, start, end), self.pace)

    async def read_range(self, key: str, start: int, end: int) -> bytes:
        if start >= end:
            return b""
        with s3_failures("read", key):
            for attempt in range(1, _READ_ATTEMPTS + 1):
                try:
                    answer = await self._request("get_object", **self._place(key), Range=f"bytes={start}-{end - 1}")
                except Exception as error:
                    if s3_code(error) in ("InvalidRange", "416"):
                        return b""
                    raise
                try:
                    async with answer["Body"] as body:
                        # Not the status: there is a server that sends the range as 200.
                        if "ContentRange" not in answer:
                            return await cut_out(body.iter_chunks(self.pace.block), start, end)
                        data: bytes = await body.read()
                    return data
                except Exception:
                    # The client retries requests; a body that breaks off in the middle is ours to ask for again.
                    if attempt == _READ_ATTEMPTS:
                        raise
        raise AssertionError("the loop above returns or raises")

    async def fetch(self, key: str, start: int, end: int) -> Buffer:
        return await self.read_range(key, start, end)

    async def stat(self, key: str) -> ObjectInfo | None:
        with s3_failures("look at", key):
            try:
                head = await self._request("head_object", **self._place(key))
            except Exception as error:
                if s3_code(error) in _ABSENT:
                    return None
                raise
            return ObjectInfo(key, int(head["ContentLength"]), _milliseconds(head["LastModified"]))

    async def delete(self, key: str) -> None:
        with s3_failures("delete", key):
            try:
                await self._request("delete_object", **self._place(key))
            except Exception as error:
                if s3_code(error) not in _ABSENT:
                    raise

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        token: dict[str, str] = {}
        while True:
            with s3_failures("list", prefix):
                page = await self._request("list_objects_v2", Bucket=self._bucket, Prefix=self._root + prefix, **token)
            for entry in page.get("Contents", ()):
                key = entry["Key"][len(self._root) :]
                yield ObjectInfo(key, int(entry["Size"]), _milliseconds(entry["LastModified"]))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    async def presign(self, key: str, expires_in: int) -> str:
        with s3_failures("presign", key):
            client = await (await self._connected()).set_session()
            url: str = await client.generate_presigned_url("get_object", Params=self._place(key), ExpiresIn=expires_in)
            return url

    async def discard_uploads(self, older_than: int) -> int | None:
        discarded = 0
        with s3_failures("list unfinished uploads", None):
            async for upload in self._unfinished():
                if is_storage_key(upload["Key"][len(self._root) :]) and await self._discarded(upload, older_than):
                    discarded += 1
        return discarded

    async def create(self) -> None:
        with s3_failures("create the bucket", None):
            # Amazon refuses a location constraint that names us-east-1, and s3fs would send it.
            region = self._options.region
            elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": region}} if region not in (None, "us-east-1") else {}
            try:
                await self._request("create_bucket", Bucket=self._bucket, **elsewhere)
            except Exception as error:
                if s3_code(error) not in _OWNED:
                    raise
                await self._request("head_bucket", Bucket=self._bucket)

    async def close(self) -> None:
        fs, self._fs = self._fs, None
        if fs is not None and fs._s3 is not None:
            await fs._s3.close()

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._root + check_key(key)}

    async def _request(self, method: str, **parameters: Any) -> Any:
        fs = await self._connected()
        body = parameters.pop("Body", None)
        if body is None or len(body) <= _SENT_AT_ONCE:
            return await fs._call_s3(method, **parameters, **({} if body is None else {"Body": bytes(body)}))
        # The client limits how long a server may take to answer, but not how long it may refuse to read.
        async with asyncio.timeout(None) as limit:
            patience = self._options.max_attempts * (self._options.connect_timeout_ms + self._options.read_timeout_ms) / 1000 + 10
            return await fs._call_s3(method, **parameters, Body=_Body(bytes(body), limit, patience))

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._fs is None:
                fs = _filesystem(self._options)
                client = await fs.set_session()
                # The client would wait for "100 Continue" without any limit, and one round trip more for every small object.
                client.meta.events.register_last("before-call.s3", _send_at_once)
                self._fs = fs
        return self._fs

    async def _unfinished(self) -> AsyncIterator[dict[str, Any]]:
        markers: dict[str, str] = {}
        while True:
            page = await self._request("list_multipart_uploads", Bucket=self._bucket, Prefix=self._root, **markers)
            for upload in page.get("Uploads", ()):
                yield upload
            if not page.get("IsTruncated"):
                return
            markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    async def _discarded(self, upload: dict[str, Any], older_than: int) -> bool:
        place = {"Bucket": self._bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
        try:
            if await self._last_touched(upload, place) >= older_than:
                return False
            await self._request("abort_multipart_upload", **place)
        except Exception as error:
            if s3_code(error) not in _ABSENT:
                raise
            return False  # it has been completed or aborted since it was listed
        return True

    async def _last_touched(self, upload: dict[str, Any], place: dict[str, Any]) -> int:
        """When its newest part came: a slow upload that is still alive must not be taken for a dead one."""
        newest = _milliseconds(upload["Initiated"])
        marker: dict[str, int] = {}
        while True:
            page = await self._request("list_parts", **place, **marker)
            newest = max([newest, *(_milliseconds(part["LastModified"]) for part in page.get("Parts", ()))])
            if not page.get("IsTruncated"):
                return newest
            marker = {"PartNumberMarker": page["NextPartNumberMarker"]}


def _send_at_once(params: dict[str, Any], **_: Any) -> None:
    params["headers"].pop("Expect", None)


class _Body(io.BytesIO):
    """A part that is read piece by piece as the socket takes it, and moves the deadline whenever it is."""

    def __init__(self, data: bytes, limit: asyncio.Timeout, patience: float) -> None:
        super().__init__(data)
        self._data = data
        self._limit = limit
        self._patience = patience
        self._clock = asyncio.get_running_loop().time

    def read(self, size: int | None = -1, /) -> bytes:
        self._limit.reschedule(self._clock() + self._patience)
        return super().read(size)

    def getbuffer(self) -> memoryview:
        # aiohttp asks for it to learn the size, and io.BytesIO would copy every part for that.
        return memoryview(self._data)


def _filesystem(options: StoreOptions) -> Any:
    """An s3fs instance of the running loop that nobody else can get hold of."""
    try:
        import s3fs
    except ImportError as error:
        raise ConfigurationError(
            "s3:// needs s3fs, which is not installed.", remedy="Install flue-sqla[s3], or flue-sqla[obstore] with artifact_engine=obstore."
        ) from error
    from flue_sqla.artifacts.s3_credentials import session_for

    given: dict[str, Any] = {"key": options.access_key_id, "secret": options.secret_access_key, "token": options.session_token}
    if options.role_arn is not None:
        given = {}  # they only serve to assume the role
    with s3_failures("connect", None):
        fs = s3fs.S3FileSystem(
            **given,
            endpoint_url=options.endpoint,
            client_kwargs={"region_name": options.region} if options.region else {},
            config_kwargs=_config(options),
            session=session_for(options),
            asynchronous=True,
            skip_instance_cache=True,
            use_listings_cache=False,
        )
    # botocore retries already, with a bound; s3fs would multiply that.
    fs.retries = 1
    return fs


def _config(options: StoreOptions) -> dict[str, Any]:
    return {
        "connect_timeout": options.connect_timeout_ms / 1000,
        "read_timeout": options.read_timeout_ms / 1000,
        "retries": {"mode": "standard", "total_max_attempts": options.max_attempts},
        "s3": {"addressing_style": "path" if options.path_style else "virtual"},
        "signature_version": "s3v4",
        "max_pool_connections": max(50, options.concurrency * 2),
        # TLS and the request signature protect a body in transit; trailing checksums are refused by several servers.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
