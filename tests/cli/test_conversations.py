"""``conversations verify`` on stored streams."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from flue_sqla import Flue
from flue_sqla.cli.main import run
from flue_sqla.conversation import Envelope, builders
from flue_sqla.wire import stream_path
from tests.conversation.stream import AT, birth
from tests.databases.contract import Database

Command = Callable[..., tuple[int, Any]]


@pytest.fixture
def verify(migrated: Database, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs ``conversations verify --json``; gives its exit code and its document."""

    def call(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = run(["conversations", "verify", *arguments, "--url", migrated.url, "--json"])
        printed = capsys.readouterr()
        return code, json.loads(printed.out or printed.err)

    return call


def signal(number: int, parent: int | None) -> dict[str, Any]:
    options: dict[str, Any] = {"signal_type": "t", "content": "c", "entry_id": f"entry_{number}", "record_id": f"record_{number}"}
    return builders.signal(Envelope("conv_1"), AT, parent_id=None if parent is None else f"entry_{parent}", **options)


def store(database: Database, instance: str, batches: list[list[dict[str, Any]]]) -> str:
    path = stream_path("assistant", instance)
    with Flue(database.url) as flue:
        flue.conversations.create(path, "assistant", instance)
        claim = flue.conversations.acquire_producer(path, "owner_1")
        options: dict[str, Any] = {"producer_id": "owner_1", "producer_epoch": claim.producer_epoch, "incarnation": claim.incarnation}
        for sequence, records in enumerate(batches):
            flue.conversations.append(path, **options, producer_sequence=sequence, records=records)
    return path


def test_sound_streams_are_counted_over_all_pages(migrated: Database, verify: Command) -> None:
    long = [[birth()], *[[signal(number, number - 1 if number else None)] for number in range(120)]]
    store(migrated, "long", long)
    store(migrated, "é/1", [[birth(), signal(0, None)]])
    assert verify() == (0, {"ok": True, "streams": 2, "batches": 122, "records": 123, "broken": []})


def test_a_database_without_streams_is_sound(verify: Command) -> None:
    assert verify() == (0, {"ok": True, "streams": 0, "batches": 0, "records": 0, "broken": []})


def test_the_first_broken_record_is_named_and_the_exit_code_is_1(migrated: Database, verify: Command) -> None:
    good = store(migrated, "good", [[birth()], [signal(0, None)]])
    bad = store(migrated, "bad", [[birth()], [signal(0, None), signal(1, None)], [signal(2, 7)]])
    code, report = verify()
    assert (code, report["ok"], report["streams"]) == (1, False, 2)
    assert report["broken"] == [
        {
            "path": bad,
            "offset": "0000000000000000_0000000000000001",
            "recordId": "record_1",
            "recordType": "signal",
            "reason": "invariant 4: parentId must be the leaf entry_0, not None",
        }
    ]
    assert verify("--path", good)[0] == 0
    assert verify("--path", good, "--path", bad)[1]["streams"] == 2


def test_a_stream_that_is_not_there_is_reported(verify: Command) -> None:
    code, report = verify("--path", "agents/a/none")
    assert (code, report["broken"][0]["reason"]) == (1, "Stream does not exist.")


def test_people_get_a_table(migrated: Database, capsys: pytest.CaptureFixture[str]) -> None:
    store(migrated, "bad", [[birth(), signal(0, 7)]])
    capsys.readouterr()
    assert run(["conversations", "verify", "--url", migrated.url]) == 1
    printed = capsys.readouterr().out
    assert "agents/assistant/bad" in printed
    assert "invariant 4" in printed
    assert "1 broken of 1 stream, 1 batch, 1 record." in printed


def test_paths_are_listed_page_by_page(migrated: Database) -> None:
    paths = [store(migrated, f"i{number}", []) for number in range(5)]
    with Flue(migrated.url) as flue:
        assert flue.conversations.list_paths(limit=2) == paths[:2]
        assert flue.conversations.list_paths(after=paths[1], limit=10) == paths[2:]
        assert flue.conversations.list_paths(after=paths[-1]) == []
