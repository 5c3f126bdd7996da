"""What a small artifact costs beside its row: one request to S3, or one turn on a thread."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import aiosqlite
import pytest

from flue_sqla.artifacts import StoreOptions
from flue_sqla.asyncio import AsyncFlue
from tests.artifacts.conftest import S3_PLACES, places
from tests.artifacts.proxy import FaultProxy
from tests.databases.contract import Database

pytestmark = pytest.mark.databases("sqlite")
DATA = os.urandom(10_000)


@places(*S3_PLACES)
async def test_each_step_is_one_request(migrated: Database, place: StoreOptions) -> None:
    address = urlsplit(place.endpoint)
    proxy = FaultProxy((str(address.hostname), int(address.port or 0)))
    try:
        async with AsyncFlue(migrated.async_url) as aflue:
            aflue.sync._stores._options = replace(place, endpoint=proxy.endpoint)
            artifact = await aflue.artifacts.put(DATA, name="x")
            assert [request.split()[0] for request in proxy.requests] == ["PUT"]
            proxy.requests.clear()
            async with await aflue.artifacts.open(artifact.id, verify=True) as file:
                assert await file.read() == DATA
            assert [request.split()[0] for request in proxy.requests] == ["GET"]
            proxy.requests.clear()
            await aflue.artifacts.delete(artifact.id)
            # obstore deletes through the request for many keys.
            assert [request.split()[0] for request in proxy.requests] in (["DELETE"], ["POST"])
    finally:
        proxy.close()


@places("folder")
async def test_a_put_into_a_folder_takes_one_turn_on_a_thread(
    migrated: Database, place: StoreOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[Any] = []
    to_thread = asyncio.to_thread

    async def counted(function: Any, /, *arguments: Any) -> Any:
        turns.append(function)
        return await to_thread(function, *arguments)

    async with AsyncFlue(migrated.async_url) as aflue:
        aflue.sync._stores._options = place
        with monkeypatch.context() as watched:
            watched.setattr(asyncio, "to_thread", counted)
            artifact = await aflue.artifacts.put(DATA, name="x")
        assert len(turns) == 1
        assert await aflue.artifacts.read_range(artifact.id, 0) == DATA


@places("folder")
async def test_one_statement_takes_five_turns_on_the_thread_of_the_database(
    migrated: Database, place: StoreOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row of a put, and a look at it. The commit and the rollback of the pool find nothing to do."""
    turns: list[str] = []
    execute = aiosqlite.Connection._execute

    async def counted(self: aiosqlite.Connection, function: Any, *arguments: Any, **named: Any) -> Any:
        turns.append(function.__name__)
        return await execute(self, function, *arguments, **named)

    async with AsyncFlue(migrated.async_url) as aflue:
        aflue.sync._stores._options = place
        artifact = await aflue.artifacts.put(DATA, name="the pool has a connection")
        monkeypatch.setattr(aiosqlite.Connection, "_execute", counted)
        await aflue.artifacts.put(DATA, name="x")
        assert turns == ["cursor", "execute", "close", "commit", "rollback"]
        turns.clear()
        assert await aflue.artifacts.get(artifact.id) == artifact
        assert turns == ["cursor", "execute", "fetchall", "close", "rollback"]
