"""Streams inside a unit of work and inside a host's own transaction."""

from __future__ import annotations

from contextlib import suppress

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from flue_sqla import Flue
from flue_sqla.errors import ConversationStreamStoreError
from tests.conversations.streams import AGENT, FIRST, INSTANCE, OUT_OF_SEQUENCE, PATH, append, owned_stream


class Regret(Exception):
    pass


def test_a_unit_is_everything_or_nothing(flue: Flue) -> None:
    with suppress(Regret), flue.begin() as unit:
        unit.conversations.create(PATH, AGENT, INSTANCE)
        append(unit, unit.conversations.acquire_producer(PATH, "producer-1"))
        assert len(unit.conversations.read(PATH).batches) == 1
        raise Regret
    assert flue.conversations.get_meta(PATH) is None


def test_a_refusal_inside_a_unit_leaves_the_unit_usable(flue: Flue) -> None:
    producer = owned_stream(flue)
    with flue.begin() as unit:
        with pytest.raises(ConversationStreamStoreError, match=OUT_OF_SEQUENCE):
            append(unit, producer, sequence=3)
        assert append(unit, producer) == FIRST
        assert append(unit, producer) == FIRST, "a retry"
    assert len(flue.conversations.read(PATH).batches) == 1


def test_listeners_are_called_after_the_hosts_commit_and_never_after_its_rollback(flue: Flue) -> None:
    producer = owned_stream(flue)
    heard: list[str] = []
    flue.conversations.subscribe(PATH, lambda: heard.append(flue.conversations.read(PATH).next_offset))
    with Session(flue.engine) as session:
        append(flue.bind(session), producer)
        session.rollback()
        assert heard == []
        append(flue.bind(session), producer)
        assert heard == []
        session.commit()
        assert heard == [FIRST]


def test_a_hosts_rows_and_a_batch_are_committed_together(flue: Flue) -> None:
    orders = sa.Table("orders", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
    orders.create(flue.engine)
    producer = owned_stream(flue)
    for end, rows in (("rollback", 0), ("commit", 1)):
        with flue.engine.connect() as connection:
            connection.execute(orders.insert().values(id=1))
            append(flue.bind(connection), producer)
            getattr(connection, end)()
        with flue.engine.connect() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(orders)).scalar_one() == rows
        assert len(flue.conversations.read(PATH).batches) == rows
