"""Lengths as JavaScript counts them, and texts that no database holds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from flue_sqla import wire
from flue_sqla.errors import InvalidInputError
from tests.wire.oracle import Node, units
from tests.wire.test_canonical_json import strings


@pytest.mark.parametrize(
    ("text", "length"), [("", 0), ("abc", 3), ("é", 1), ("😀", 2), ("\ud83d", 1), ("\ud83d\ude00", 2), ("a\U0010ffff", 3)]
)
def test_length_counts_utf16_units(text: str, length: int) -> None:
    assert wire.utf16_length(text) == length


@settings(deadline=None)
@given(strings)
def test_length_is_what_node_says(node: Node, text: str) -> None:
    assert wire.utf16_length(text) == node.ask("length", units(text))


@pytest.mark.parametrize("text", ["", "plain", "é 日本 😀", "line\n\t\x01\x7f", "\uffff"])
def test_ordinary_text_is_storable(text: str) -> None:
    assert wire.require_storable(text, "field") == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a\0b", "U\\+0000"), ("\ud800", "surrogate"), ("é\udfff", "surrogate"), (7, "int"), (None, "NoneType"), (b"x", "bytes")],
)
def test_other_text_is_refused_with_the_name_of_the_field(text: object, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=f"owner_id .*{reason}") as caught:
        wire.require_storable(text, "owner_id")
    assert caught.value.meta == {"field": "owner_id"}
