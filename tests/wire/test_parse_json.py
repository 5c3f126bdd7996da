"""``parse_json`` against JavaScript's ``JSON.parse`` (spec/streams.md §5)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flue_sqla import wire
from tests.wire.oracle import Node, text_of, units
from tests.wire.test_canonical_json import json_values

fragments = st.lists(
    st.one_of(
        st.sampled_from(list('{}[]:,"\\ \n0123456789-+.eE')),
        st.sampled_from(
            ["true", "null", "NaN", '"a"', '"1":', '"0":', '"b":', "\\u0031", "\\ud83d", "\\ude00", "9007199254740993", "1e400", "-0"]
        ),
    ),
    max_size=14,
).map("".join)


def reprinted(text: str) -> str | None:
    """``JSON.stringify(JSON.parse(text))``; None where the parser refuses."""
    try:
        return wire.canonical_json(wire.parse_json(text))
    except ValueError:
        return None


def test_every_vector_of_javascript(vectors: Any) -> None:
    wrong = [(item, text_of(item["text"])) for item in vectors["parse"] if reprinted(text_of(item["text"])) != item["canonical"]]
    assert not wrong


@settings(max_examples=2000, deadline=None)
@given(fragments)
def test_any_text_is_read_as_node_reads_it(node: Node, text: str) -> None:
    assert reprinted(text) == node.ask("parse", units(text))


@settings(max_examples=500, deadline=None)
@given(json_values)
def test_what_was_written_once_never_changes_again(value: Any) -> None:
    text = wire.canonical_json(value)
    assert wire.canonical_json(wire.parse_json(text)) == text


def test_keys_come_in_the_order_of_a_javascript_object() -> None:
    assert list(wire.parse_json('{"b":1,"10":2,"a":{"2":0,"x":0,"1":0},"9":3,"b":4}')) == ["9", "10", "b", "a"]
    assert list(wire.parse_json('{"a":{"2":0,"x":0,"1":0}}')["a"]) == ["1", "2", "x"]
    assert wire.parse_json('{"b":1,"b":4}') == {"b": 4}


def test_numbers_keep_their_kind_and_huge_integers_become_doubles() -> None:
    assert [type(item) for item in wire.parse_json("[1,1.0,-7,9007199254740991]")] == [int, float, int, int]
    assert wire.parse_json("9007199254740993") == 2.0**53
    assert wire.canonical_json(wire.parse_json("123456789012345678901")) == "123456789012345680000"
    assert wire.canonical_json(wire.parse_json("9" * 5000)) == "null"


def test_deep_nesting_is_an_error_not_a_crash() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        wire.parse_json("[" * 200_000 + "]" * 200_000)
