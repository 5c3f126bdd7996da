"""Run cursors (spec/runs.md §3)."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_sqla import wire

storable = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def test_a_cursor_is_the_unpadded_compact_object() -> None:
    cursor = wire.encode_run_cursor("2026-06-01T10:00:00.000Z", "run_1")
    assert "=" not in cursor
    assert base64.urlsafe_b64decode(cursor + "==") == b'{"s":"2026-06-01T10:00:00.000Z","r":"run_1"}'


@given(storable, storable)
def test_a_cursor_names_its_run(started_at: str, run_id: str) -> None:
    assert wire.decode_run_cursor(wire.encode_run_cursor(started_at, run_id)) == (started_at, run_id)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "%%%",
        "é",
        "e",
        encoded([]),
        encoded("s"),
        encoded({"s": "a"}),
        encoded({"s": 1, "r": "b"}),
        encoded({"s": "a\0", "r": "b"}),
        encoded({"s": "\ud800", "r": "b"}),
    ],
)
def test_what_is_not_a_cursor_is_ignored(text: str | None) -> None:
    assert wire.decode_run_cursor(text) is None


def test_a_padded_cursor_is_accepted() -> None:
    assert wire.decode_run_cursor(encoded({"s": "ab", "r": "c"})) == ("ab", "c")
