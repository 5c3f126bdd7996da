"""Attachments beyond the contract: races, limits of each database, and a host's own transaction."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from flue_sqla import Attachment, AttachmentRef, Flue
from flue_sqla.errors import (
    AttachmentConflictError,
    AttachmentIntegrityError,
    ConversationStreamStoreError,
    InvalidInputError,
    ValueTooLargeError,
)
from flue_sqla.flue import Repositories
from tests.databases.contract import Database
from tests.databases.traffic import Traffic
from tests.submissions.waiting import in_background, until_blocked

PATH = "agents/assistant/agent-1"
CONVERSATION = "conv_1"


def put(
    on: Repositories, data: Any = b"data", *, id: str = "att_1", conversation: str = CONVERSATION, mime_type: str = "text/plain"
) -> None:
    on.attachments.put(PATH, AttachmentRef.of(id, mime_type, bytes(data)), data, conversation)


def get(on: Repositories, id: str = "att_1") -> Attachment | None:
    return on.attachments.get(PATH, id, CONVERSATION)


def test_every_byte_and_every_bytes_like_object(flue: Flue) -> None:
    data = bytes(range(256)) * 5_000
    for number, kind in enumerate((bytes, bytearray, memoryview)):
        put(flue, kind(data), id=f"att_{number}")
        found = get(flue, f"att_{number}")
        assert found is not None
        assert found.data == data


@pytest.mark.databases("postgres", "mariadb")
@pytest.mark.parametrize(("data", "conflicts"), [(b"data", False), (b"other", True)])
def test_a_put_that_waited_for_another_one_is_the_same_or_a_conflict(flue: Flue, migrated: Database, data: bytes, conflicts: bool) -> None:
    with flue.begin() as unit:
        put(unit)
        waiting = in_background(put, flue, data)
        until_blocked(migrated, waiting)
    if conflicts:
        with pytest.raises(AttachmentConflictError):
            waiting.result(20)
    else:
        waiting.result(20)
    found = get(flue)
    assert found is not None
    assert found.data == b"data"


def test_a_rolled_back_put_leaves_nothing(flue: Flue) -> None:
    with suppress(ZeroDivisionError), flue.begin() as unit:
        put(unit, b"x" * 600_000)
        assert get(unit) is not None
        raise ZeroDivisionError
    assert get(flue) is None
    put(flue, b"other")


def test_a_conflict_in_a_unit_leaves_the_unit_usable(flue: Flue) -> None:
    put(flue)
    with flue.begin() as unit:
        with pytest.raises(AttachmentConflictError):
            put(unit, b"other")
        put(unit, b"more", id="att_2")
    assert get(flue, "att_2") is not None


@pytest.mark.databases("mariadb")
def test_a_unit_with_an_older_snapshot_still_sees_what_its_put_met(flue: Flue) -> None:
    """A host's default on MySQL is REPEATABLE READ, where a plain read would look into the past."""
    import sqlalchemy as sa

    engine = sa.create_engine(flue.engine.url, isolation_level="REPEATABLE READ")
    with engine.begin() as connection:
        unit = flue.bind(connection)
        assert get(unit) is None
        put(flue)
        put(unit)
        with pytest.raises(AttachmentConflictError):
            put(unit, b"other")
    engine.dispose()


@pytest.mark.parametrize("text", ["nul \0", "lone \ud800"])
@pytest.mark.parametrize("field", ["path", "id", "mime_type", "conversation"])
def test_text_that_no_column_holds_is_refused_before_any_statement(flue: Flue, field: str, text: str) -> None:
    traffic = Traffic(flue.engine)
    values = {"path": PATH, "id": "att_1", "mime_type": "text/plain", "conversation": CONVERSATION, field: text}
    ref = AttachmentRef.of(values["id"], values["mime_type"], b"data")
    with pytest.raises(InvalidInputError):
        flue.attachments.put(values["path"], ref, b"data", values["conversation"])
    if field != "mime_type":
        with pytest.raises(InvalidInputError):
            flue.attachments.get(values["path"], values["id"], values["conversation"])
    assert traffic.statements == []


def test_wrong_bytes_are_refused_before_any_statement(flue: Flue) -> None:
    traffic = Traffic(flue.engine)
    with pytest.raises(AttachmentIntegrityError, match="integrity"):
        flue.attachments.put(PATH, AttachmentRef.of("att_1", "text/plain", b"data"), b"date", CONVERSATION)
    with pytest.raises(InvalidInputError, match="bytes"):
        flue.attachments.put(PATH, AttachmentRef.of("att_1", "text/plain", b"data"), "data", CONVERSATION)  # type: ignore[arg-type]
    assert traffic.statements == []


@pytest.mark.databases("mariadb")
class TestMySQLLimits:
    def test_the_path_limit_is_the_contracts(self, flue: Flue) -> None:
        ref = AttachmentRef.of("att_1", "text/plain", b"data")
        for operation, call in (
            ("put_attachment", lambda: flue.attachments.put("x" * 256, ref, b"data", CONVERSATION)),
            ("get_attachment", lambda: flue.attachments.get("x" * 256, "att_1", CONVERSATION)),
        ):
            with pytest.raises(ConversationStreamStoreError, match="255-character") as caught:
                call()
            assert caught.value.meta["operation"] == operation

    @pytest.mark.parametrize("field", ["id", "mime_type", "conversation"])
    def test_over_long_values_are_refused_and_not_cut(self, flue: Flue, field: str) -> None:
        with pytest.raises(ValueTooLargeError):
            put(flue, **{field: "x" * 256})
        put(flue, **{field: "x" * 255})

    def test_bytes_above_the_packet_limit_are_refused_before_the_statement(self, flue: Flue) -> None:
        """16 MiB by default, and PyMySQL writes each byte as two hexadecimal digits."""
        with pytest.raises(ValueTooLargeError, match="max_allowed_packet"):
            put(flue, b"x" * (8 * 1024 * 1024))
        put(flue, b"\0" * (15 * 512 * 1024))
        found = get(flue)
        assert found is not None
        assert found.ref.size == 15 * 512 * 1024
