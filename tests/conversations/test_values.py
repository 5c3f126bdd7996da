"""Values that a database or JSON cannot hold: stored without loss, or refused before anything is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla import Attempt, Flue, FoldCheckpoint
from flue_sqla.errors import ConversationStreamStoreError, InvalidInputError, ValueTooLargeError
from flue_sqla.models.tables import streams
from flue_sqla.repositories.conversations.spilling import cut
from flue_sqla.wire import utf16_length
from tests.conversations.streams import AGENT, FIRST, INSTANCE, PATH, append, owned_stream
from tests.databases.traffic import Traffic

CHECKPOINT = FoldCheckpoint(offset=FIRST, incarnation="inc_1", format_version=2, data="{}")
NOWHERE = {"producer_id": "p", "producer_epoch": 1, "incarnation": "i", "producer_sequence": 0, "records": [{"id": "r"}]}

REFUSED: dict[str, Callable[[Flue, str], Any]] = {
    "create": lambda flue, text: flue.conversations.create(text, AGENT, INSTANCE),
    "acquire": lambda flue, text: flue.conversations.acquire_producer(text, "p"),
    "acquire, producer": lambda flue, text: flue.conversations.acquire_producer(PATH, text),
    "append": lambda flue, text: flue.conversations.append(text, **NOWHERE),
    "append, producer": lambda flue, text: flue.conversations.append(PATH, **{**NOWHERE, "producer_id": text}),
    "append, incarnation": lambda flue, text: flue.conversations.append(PATH, **{**NOWHERE, "incarnation": text}),
    "append, submission": lambda flue, text: flue.conversations.append(
        PATH, **NOWHERE, submission=Attempt(submission_id=text, attempt_id="a")
    ),
    "append, attempt": lambda flue, text: flue.conversations.append(
        PATH, **NOWHERE, submission=Attempt(submission_id="s", attempt_id=text)
    ),
    "read": lambda flue, text: flue.conversations.read(text),
    "get_meta": lambda flue, text: flue.conversations.get_meta(text),
    "put_checkpoint": lambda flue, text: flue.conversations.put_checkpoint(text, CHECKPOINT),
    "put_checkpoint, data": lambda flue, text: flue.conversations.put_checkpoint(PATH, CHECKPOINT.model_copy(update={"data": text})),
    "get_checkpoint": lambda flue, text: flue.conversations.get_checkpoint(text),
}


@pytest.mark.parametrize("text", ["nul \0", "lone \ud800 surrogate"])
@pytest.mark.parametrize("operation", REFUSED)
def test_text_that_no_column_holds_is_refused_before_any_statement(flue: Flue, operation: str, text: str) -> None:
    traffic = Traffic(flue.engine)
    with pytest.raises(InvalidInputError):
        REFUSED[operation](flue, text)
    assert traffic.statements == []


@pytest.mark.parametrize(
    "change",
    [
        {"records": ["text"]},
        {"records": [{"id": "r", "number": 2**53}]},
        {"records": [{"id": "r", 1: "key"}]},
        {"records": [{"id": "r", "bytes": b""}]},
        {"producer_epoch": 2**53},
        {"producer_sequence": 2**63},
        {"producer_sequence": 1.0},
        {"producer_epoch": True},
    ],
)
def test_what_has_no_json_or_is_no_number_is_refused_before_any_statement(flue: Flue, change: dict[str, Any]) -> None:
    traffic = Traffic(flue.engine)
    with pytest.raises(InvalidInputError):
        flue.conversations.append(PATH, **{**NOWHERE, **change})
    assert traffic.statements == []


def test_anything_inside_a_record_is_stored_without_loss(flue: Flue) -> None:
    record = {
        "id": "r",
        "nul \0": "\0",
        "lone": "\udc00 \ud800",
        "astral": "\U0001f916",
        "nothing": None,
        "numbers": [0, -1, 1.5, 1e21, 1e-7, 2**53 - 1],
        "percent": "%s %(x)s :name ? \\ ' \"",
    }
    append(flue, owned_stream(flue), record)
    ((stored,),) = [batch.records for batch in flue.conversations.read(PATH).batches]
    assert stored == record
    assert append(flue, flue.conversations.acquire_producer(PATH, "p"), record) != FIRST


def test_a_batch_of_exactly_twelve_mebibytes_is_stored(flue: Flue) -> None:
    padding = 12 * 1024 * 1024 - utf16_length('[{"id":"r","t":""}]')
    append(flue, owned_stream(flue), {"id": "r", "t": "x" * padding})
    ((record,),) = [batch.records for batch in flue.conversations.read(PATH).batches]
    assert len(record["t"]) == padding
    with pytest.raises(ConversationStreamStoreError, match=r"~12\.0MB.*12MB.*id \"r\""):
        append(flue, flue.conversations.acquire_producer(PATH, "p"), {"id": "r", "t": "x" * (padding + 1)})


@pytest.mark.databases("mariadb")
class TestMySQLLimits:
    """Bounded columns and packets: a clear error, never a truncation."""

    LONG = "agents/" + "x" * 249
    REASON = r"Stream path exceeds the supported 255-character limit\."

    @pytest.mark.parametrize(
        ("operation", "call"),
        [
            ("create", lambda c, path: c.create(path, AGENT, INSTANCE)),
            ("acquire_producer", lambda c, path: c.acquire_producer(path, "p")),
            ("append", lambda c, path: c.append(path, **{**NOWHERE, "records": []})),
            ("read", lambda c, path: c.read(path, offset="malformed")),
            ("get_meta", lambda c, path: c.get_meta(path)),
            ("put_fold_checkpoint", lambda c, path: c.put_checkpoint(path, CHECKPOINT)),
            ("get_fold_checkpoint", lambda c, path: c.get_checkpoint(path)),
        ],
    )
    def test_the_path_is_checked_first(self, flue: Flue, operation: str, call: Callable[[Any, str], Any]) -> None:
        with pytest.raises(ConversationStreamStoreError, match=self.REASON) as caught:
            call(flue.conversations, self.LONG)
        assert caught.value.meta == {"operation": operation, "path": self.LONG, "reason": self.REASON.replace("\\", "")}

    def test_it_counts_utf16_units(self, flue: Flue) -> None:
        flue.conversations.create("é" * 255, AGENT, INSTANCE)
        assert flue.conversations.get_meta("é" * 255) is not None
        with pytest.raises(ConversationStreamStoreError, match=self.REASON):
            flue.conversations.create("\U0001f916" * 128, AGENT, INSTANCE)

    def test_other_long_values_are_refused_and_not_cut(self, flue: Flue) -> None:
        owned_stream(flue)
        with pytest.raises(ValueTooLargeError, match="producer_id"):
            flue.conversations.acquire_producer(PATH, "p" * 129)
        assert flue.conversations.acquire_producer(PATH, "p" * 128).producer_id == "p" * 128
        for change in ({"offset": "0_" + "1" * 63}, {"incarnation": "i" * 256}):
            with pytest.raises(ValueTooLargeError):
                flue.conversations.put_checkpoint(PATH, CHECKPOINT.model_copy(update=change))

    def test_a_batch_above_the_packet_limit_is_refused_before_the_statement(self, flue: Flue) -> None:
        producer = owned_stream(flue)
        record = {"id": "r", "t": "☃" * (6 * 1024 * 1024)}
        with pytest.raises(ValueTooLargeError, match="max_allowed_packet") as caught:
            append(flue, producer, record)
        assert caught.value.meta["setting"] == "max_allowed_packet"
        assert caught.value.meta["size"] > caught.value.meta["limit"]
        assert append(flue, producer, {"id": "r"}) == FIRST
        with pytest.raises(ValueTooLargeError, match="max_allowed_packet"):
            flue.conversations.put_checkpoint(PATH, CHECKPOINT.model_copy(update={"data": record["t"]}))


@pytest.mark.parametrize("length", [0, 1, 524_287, 524_288, 524_289, 1_048_576, 1_300_000])
@pytest.mark.parametrize("text", ["x", "é", "\U0001f916", "a\U0001f916"])
def test_parts_are_cut_by_utf16_units_and_never_within_a_pair(length: int, text: str) -> None:
    whole = (text * (length // len(text) + 1))[:length]
    parts = cut(whole)
    assert "".join(parts) == whole
    assert all(utf16_length(part) in (524_288, 524_289) for part in parts[:-1])
    assert not parts or 1 <= utf16_length(parts[-1]) <= 524_289


@pytest.mark.parametrize("stored", ["no json", "[]", '{"agentName":"a"}', '{"agentName":1,"instanceId":"i"}'])
def test_an_identity_that_names_no_instance_is_a_failure_of_the_store(flue: Flue, stored: str) -> None:
    owned_stream(flue)
    with flue.engine.begin() as connection:
        connection.execute(sa.update(streams).values(identity_json=stored))
    with pytest.raises(ConversationStreamStoreError, match="identity is malformed"):
        flue.conversations.get_meta(PATH)


@pytest.mark.parametrize("offset", [0, None, b"-1", 1.5])
def test_an_offset_is_a_text(flue: Flue, offset: Any) -> None:
    for read in (flue.conversations.read, flue.events.read):
        with pytest.raises(InvalidInputError, match="Invalid stream offset"):
            read(PATH, offset=offset)


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), float("-inf"), 0, -1, 101.0])
def test_a_limit_that_counts_nothing_is_the_default(flue: Flue, limit: Any) -> None:
    claim = owned_stream(flue)
    flue.events.create(PATH)
    with flue.begin() as unit:
        for number in range(102):
            append(unit, claim, {"id": f"record_{number}"}, sequence=number)
            unit.events.append(PATH, number)
            unit.runs.create(run_id=f"run_{number}", workflow_name="w", started_at="2026-06-01T10:00:00.000Z")
    expected = 101 if limit == 101.0 else 100
    assert len(flue.conversations.read(PATH, limit=limit).batches) == expected
    assert len(flue.events.read(PATH, limit=limit).events) == expected
    assert len(flue.runs.list(limit=limit).runs) == expected


@pytest.mark.parametrize("limit", [1.5, "5", True])
def test_a_limit_that_is_no_whole_number_is_refused(flue: Flue, limit: Any) -> None:
    for read in (flue.conversations.read, flue.events.read):
        with pytest.raises(InvalidInputError, match="limit"):
            read(PATH, limit=limit)
    with pytest.raises(InvalidInputError, match="limit"):
        flue.runs.list(limit=limit)
