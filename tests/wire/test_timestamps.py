"""ISO-8601 text and epoch milliseconds as JavaScript converts them (spec/submissions.md §3.3)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flue_sqla import wire
from flue_sqla.errors import InvalidInputError
from tests.wire.oracle import Node

YEAR_1, YEAR_9999 = -62_135_596_800_000, 253_402_300_799_999
dates = st.builds(
    "{}-{:02}-{:02}T{:02}:{:02}:{:02}{}{}".format,
    st.one_of(st.integers(0, 9999).map("{:04}".format), st.integers(-271_821, 275_760).map("{:+07}".format)),
    st.integers(1, 13),
    st.integers(1, 32),
    st.integers(0, 24),
    st.integers(0, 60),
    st.integers(0, 60),
    st.sampled_from(["", ".0", ".5", ".123", ".1239", ".999999999"]),
    st.sampled_from(["Z", "+00:00", "-11:30", "+23:59", "+24:00", "+0530"]),
)


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def enter(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield enter
    monkeypatch.undo()
    time.tzset()


def parsed(text: str) -> int | None:
    try:
        return wire.parse_timestamp(text)
    except ValueError:
        return None


def test_every_vector_of_javascript(vectors: Any, in_zone: Any) -> None:
    in_zone("UTC")
    assert [(item["text"], parsed(item["text"])) for item in vectors["dates"]] == [(item["text"], item["ms"]) for item in vectors["dates"]]


@settings(max_examples=1000, deadline=None)
@given(dates)
def test_any_iso_date_is_read_as_node_reads_it(node: Node, text: str) -> None:
    assert parsed(text) == node.ask("date", text)


@settings(max_examples=500, deadline=None)
@given(st.integers(YEAR_1, YEAR_9999))
def test_any_time_is_written_as_node_writes_it_and_read_back(node: Node, ms: int) -> None:
    text = wire.format_timestamp(ms)
    assert text == node.ask("iso", ms)
    assert wire.parse_timestamp(text) == ms


def test_a_time_without_offset_is_local(in_zone: Any) -> None:
    in_zone("Asia/Kolkata")
    assert wire.parse_timestamp("2026-06-03T05:30:00") == wire.parse_timestamp("2026-06-03T00:00:00Z")
    assert wire.parse_timestamp("2026-06-03") == wire.parse_timestamp("2026-06-03T00:00:00Z")


def test_digits_that_are_not_ascii_are_refused() -> None:
    with pytest.raises(ValueError, match="not an ISO-8601 timestamp"):
        wire.parse_timestamp("٢٠٢٦-06-03")


@pytest.mark.parametrize("ms", [YEAR_1 - 1, YEAR_9999 + 1, 10**30])
def test_a_time_without_four_digit_year_is_refused(ms: int) -> None:
    with pytest.raises(InvalidInputError, match="1 to 9999"):
        wire.format_timestamp(ms)
