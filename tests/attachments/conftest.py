"""Attachments that are kept as artifacts, on both faces, and a look at what lies where."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flue_sqla import Attachment, AttachmentRef, Flue, FlueSettings
from flue_sqla.asyncio import AsyncFlue
from tests.databases.contract import Database

PATH = "agents/assistant/agent-1"
CONVERSATION = "conv_1"
ABOVE = 1_000
LARGE = bytes(range(256)) * 40


class Offloading:
    """A Flue of either face that keeps attachments of more than ``ABOVE`` bytes in a folder, under blocking names."""

    def __init__(self, database: Database, folder: Path, run: Callable[[Any], Any] | None, above: int | None = ABOVE) -> None:
        self.database, self.folder, self._run = database, folder, run
        settings = FlueSettings(artifacts=str(folder), offload_attachments_above=above)
        self.flue: Any = Flue(database.url, settings=settings) if run is None else AsyncFlue(database.async_url, settings=settings)

    def call(self, method: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        result = method(*arguments, **more)
        return result if self._run is None else self._run(result)

    def put(self, data: bytes = LARGE, *, id: str = "att_1", path: str = PATH, conversation: str = CONVERSATION) -> None:
        self.call(self.flue.attachments.put, path, AttachmentRef.of(id, "image/png", data), data, conversation)

    def get(self, id: str = "att_1", *, path: str = PATH, conversation: str = CONVERSATION) -> Attachment | None:
        found: Attachment | None = self.call(self.flue.attachments.get, path, id, conversation)
        return found

    def data(self, id: str = "att_1", *, path: str = PATH) -> bytes | None:
        found = self.get(id, path=path)
        return None if found is None else found.data

    def sibling(self, *, above: int | None = ABOVE, folder: Path | None = None) -> Offloading:
        """Another process of the same face, with other settings."""
        return Offloading(self.database, folder or self.folder, self._run, above)

    def close(self) -> None:
        self.call(self.flue.close)

    @property
    def files(self) -> list[Path]:
        """What lies in the folder, uploads that were not finished included."""
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        columns = {"flue_attachments": "attachment_id, byte_size", "flue_artifacts": "tenant, state", "flue_offloaded_attachments": "*"}
        return sorted(tuple(row) for row in self.database.admin_execute(f"SELECT {columns[table]} FROM {table}"))

    @property
    def inline(self) -> bytes:
        """The bytes that the database itself holds of all attachments."""
        table = "flue_attachment_chunks" if self.database.name == "sqlite" else "flue_attachments"
        return b"".join(bytes(row[0]) for row in self.database.admin_execute(f"SELECT bytes FROM {table}"))

    def remove_as_flue_does(self, id: str) -> None:
        """Remove an attachment as a server that knows nothing of artifacts would."""
        if self.database.name == "sqlite":
            self.database.admin_execute(f"DELETE FROM flue_attachment_chunks WHERE attachment_id = '{id}'")
        self.database.admin_execute(f"DELETE FROM flue_attachments WHERE attachment_id = '{id}'")

    def is_empty(self) -> bool:
        """Nothing is left of any attachment, in the database or in the folder."""
        return not (self.files or any(map(self.rows, ("flue_attachments", "flue_artifacts", "flue_offloaded_attachments"))))


@pytest.fixture(params=["blocking", "async"])
def offloading(request: pytest.FixtureRequest, migrated: Database, tmp_path: Path, runner: asyncio.Runner) -> Iterator[Offloading]:
    made = Offloading(migrated, tmp_path / "artifacts", runner.run if request.param == "async" else None)
    yield made
    made.close()


@pytest.fixture
def blocking(migrated: Database, tmp_path: Path) -> Iterator[Offloading]:
    """The blocking face alone, for tests that need no other."""
    made = Offloading(migrated, tmp_path / "artifacts", None)
    yield made
    made.close()
