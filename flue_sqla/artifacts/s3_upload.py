"""One object on its way to S3: a single request when it is small, else parts in parallel within a memory budget."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from flue_sqla.artifacts.s3_failures import s3_code, s3_failure, s3_failures
from flue_sqla.artifacts.store import Buffer

__all__ = ["S3Upload"]

Request = Callable[..., Awaitable[Any]]


class S3Upload:
    """Implements the port's upload over ``request(method, **parameters)`` of an S3 client.

    The first part is held back until a second one comes, so that small objects cost one request. ``budget`` bounds the bytes in flight.
    """

    def __init__(self, request: Request, place: dict[str, str], key: str, headers: dict[str, str], budget: int) -> None:
        self._request = request
        self._place = place
        self._key = key
        self._headers = headers
        self._budget = budget
        self._first: Buffer | None = None
        self._creation: asyncio.Task[Any] | None = None
        self._parts: list[asyncio.Task[dict[str, Any]]] = []
        self._failure: BaseException | None = None
        self._in_flight = 0
        self._size = 0
        self._freed = asyncio.Event()
        self._completion: asyncio.Task[None] | None = None

    async def send(self, part: Buffer) -> None:
        self._size += len(part)
        if self._first is None and not self._parts:
            self._first = part
            return
        if self._first is not None:
            first, self._first = self._first, None
            await self._start(first)
        await self._start(part)

    async def complete(self) -> None:
        # A task of its own: a server carries out what it was sent, so a cancelled caller has to see the end of it before taking it back.
        self._completion = asyncio.ensure_future(self._complete())
        await asyncio.shield(self._completion)

    async def _complete(self) -> None:
        if not self._parts:
            with s3_failures("write", self._key):
                await self._request("put_object", **self._place, **self._headers, Body=self._first or b"")
            return
        await self._wait_for_parts()
        with s3_failures("complete the upload of", self._key):
            parts = [task.result() for task in self._parts]
            try:
                await self._request("complete_multipart_upload", **await self._upload(), MultipartUpload={"Parts": parts})
            except Exception as error:
                if not await self._completed_anyway(error):
                    raise

    async def abort(self) -> None:
        if self._completion is not None:
            await asyncio.gather(self._completion, return_exceptions=True)
        for task in self._parts:
            task.cancel()
        await asyncio.gather(*self._parts, return_exceptions=True)
        self._parts.clear()
        with s3_failures("discard", self._key):
            await self._abort_multipart()
            if self._completion is not None:
                await self._request("delete_object", **self._place)

    async def _start(self, part: Buffer) -> None:
        """Send ``part`` beside the others once the budget allows; an earlier part's failure ends the upload here."""
        upload = await self._upload()
        while self._in_flight and self._in_flight + len(part) > self._budget:
            self._freed.clear()
            await self._freed.wait()
            self._raise_failure()
        self._raise_failure()
        self._in_flight += len(part)
        self._parts.append(asyncio.create_task(self._send_part(upload, len(self._parts) + 1, part)))

    async def _send_part(self, upload: dict[str, Any], number: int, part: Buffer) -> dict[str, Any]:
        try:
            answer = await self._request("upload_part", **upload, PartNumber=number, Body=part)
            return {"PartNumber": number, "ETag": answer["ETag"]}
        except Exception as error:
            self._failure = self._failure or error
            raise
        finally:
            self._in_flight -= len(part)
            self._freed.set()

    async def _upload(self) -> dict[str, Any]:
        # A task of its own: cancelling the caller must not lose the id that an abort needs.
        if self._creation is None:
            self._creation = asyncio.ensure_future(self._request("create_multipart_upload", **self._place, **self._headers))
        with s3_failures("start the upload of", self._key):
            answer = await asyncio.shield(self._creation)
        return {**self._place, "UploadId": answer["UploadId"]}

    async def _wait_for_parts(self) -> None:
        await asyncio.wait(self._parts, return_when=asyncio.FIRST_EXCEPTION)
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise s3_failure("write", self._key, self._failure) from self._failure

    async def _completed_anyway(self, error: BaseException) -> bool:
        """The client repeats a completion whose answer was lost, and is then told that there is no such upload."""
        if s3_code(error) != "NoSuchUpload":
            return False
        try:
            head = await self._request("head_object", **self._place)
        except Exception:
            return False
        return int(head["ContentLength"]) == self._size

    async def _abort_multipart(self) -> None:
        if self._creation is None:
            return
        try:
            answer = await asyncio.shield(self._creation)
        except Exception:
            return  # it was never created, as far as anybody can know
        try:
            await self._request("abort_multipart_upload", **self._place, UploadId=answer["UploadId"])
        except Exception as error:
            if s3_code(error) not in ("NoSuchUpload", "404"):
                raise
