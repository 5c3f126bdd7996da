"""Behind a transaction-mode pooler LISTEN succeeds and nothing arrives: that is noticed, said once, and waiting polls."""

from __future__ import annotations

import logging

import pytest

from flue_sqla import Flue
from flue_sqla.listening import probe
from tests.databases.contract import Database
from tests.listening.pooler import pooler
from tests.listening.support import SOON, Looks, Writer, listening, reading, settings

pytestmark = pytest.mark.databases("postgres")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flue_sqla.listening.thread.PROBE_SECONDS", 0.3)
    assert probe.PROBE_SECONDS == 5.0


def test_deafness_is_noticed_and_polling_goes_on(migrated: Database, caplog: pytest.LogCaptureFixture) -> None:
    with pooler(migrated) as url, Flue(url, settings=settings(poll_interval_ms=50)) as here, Flue(migrated.url) as other:
        writer = Writer(other)
        with caplog.at_level(logging.WARNING, logger="flue_sqla.listening"), reading(here) as reader:
            for number in range(3):
                writer.append()
                assert reader.next() == f"record_{number}"
            _until_deaf(here)
            writer.append()
            assert reader.next() == "record_3"
        warnings = [record.message for record in caplog.records]
        assert len(warnings) == 1
        assert "FLUE_LISTEN_URL" in warnings[0]


def test_a_direct_address_hears_what_is_written_through_the_pooler(migrated: Database) -> None:
    with pooler(migrated) as url, Flue(url, settings=settings(database_url=url, listen_url=migrated.url)) as here:
        listening(here)
        with Flue(url) as other, Looks(here) as looks, reading(here) as reader:
            writer = Writer(other)
            looks.wait()
            writer.append()
            assert reader.next() == "record_0"


def test_an_address_of_another_database_is_noticed(migrated: Database, caplog: pytest.LogCaptureFixture) -> None:
    wrong = settings(database_url=migrated.url, listen_url=migrated.sibling().url, poll_interval_ms=50)
    caplog.set_level(logging.WARNING, logger="flue_sqla.listening")
    with Flue(migrated.url, settings=wrong) as here, reading(here) as reader:
        Writer(here).append()
        assert reader.next() == "record_0"
        _until_deaf(here)
    assert "same database" in caplog.text


def _until_deaf(flue: Flue) -> None:
    listener = flue.listener.listener
    assert listener is not None
    ear = listener._ear
    if ear is not None:
        ear.join(SOON)
    assert not listener.listening
