"""``canonical_json`` against JavaScript's ``JSON.stringify`` (spec/streams.md §5)."""

from __future__ import annotations

from collections import OrderedDict
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flue_sqla import wire
from flue_sqla.errors import InvalidInputError
from tests.wire.oracle import Node, tagged, untagged

characters = st.one_of(st.characters(exclude_categories=()), st.sampled_from('"\\/\b\f\0\x1f\x7f\u2028\ud800\udfff😀'))
strings = st.text(characters, max_size=8)
keys = st.one_of(
    strings, st.integers(0, 2**32 + 2).map(str), st.sampled_from(["0", "1", "01", "-1", "4294967294", "4294967295", "__proto__"])
)
numbers = st.one_of(st.floats(), st.integers(-wire.MAX_SAFE_INTEGER, wire.MAX_SAFE_INTEGER), st.floats(-1e-3, 1e-3), st.floats(1e15, 1e22))
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, strings),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=6)),
    max_leaves=12,
)


def test_every_vector_of_javascript(vectors: Any) -> None:
    wrong = [(item, text) for item in vectors["stringify"] if (text := wire.canonical_json(untagged(item["value"]))) != item["text"]]
    assert not wrong


@settings(max_examples=1500, deadline=None)
@given(json_values)
def test_any_value_is_written_as_node_writes_it(node: Node, value: Any) -> None:
    assert wire.canonical_json(value) == node.ask("stringify", tagged(value))


@settings(max_examples=1500, deadline=None)
@given(numbers)
def test_any_number_is_written_as_node_writes_it(node: Node, number: float) -> None:
    assert wire.canonical_json(number) == node.ask("stringify", tagged(number))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": 2, "10": 3, "9": 4, "01": 5}, '{"9":4,"10":3,"b":1,"a":2,"01":5}'),
        ([float("nan"), float("inf"), float("-inf"), -0.0, 1.0], "[null,null,null,0,1]"),
        ([1e-6, 1e-7, 1e20, 1e21, 1.5e300], "[0.000001,1e-7,100000000000000000000,1e+21,1.5e+300]"),
        ('a\0\x1f\x7f\u2028é/"\\', '"a\\u0000\\u001f\x7f\u2028é/\\"\\\\"'),
        ("\ud83d\ude00 \ud83d", '"😀 \\ud83d"'),
        ((1, (2, "x")), '[1,[2,"x"]]'),
        (2**53 - 1, "9007199254740991"),
    ],
)
def test_the_rules_of_the_specification(value: Any, text: str) -> None:
    assert wire.canonical_json(value) == text


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: int


def test_subclasses_of_json_types_are_written_as_their_base() -> None:
    value = OrderedDict(colour=Colour.RED, level=Level.HIGH, point=Point(1, 2))
    assert wire.canonical_json(value) == '{"colour":"red","level":3,"point":[1,2]}'


@pytest.mark.parametrize("number", [2**53, -(2**53), 10**30, 10**4000])
def test_an_integer_that_javascript_would_round_is_refused(number: int) -> None:
    with pytest.raises(InvalidInputError, match="precision") as caught:
        wire.canonical_json({"n": [number]})
    assert caught.value.remedy


@pytest.mark.parametrize("value", [{1: "a"}, {None: 1}, {True: 1}, {1.5: 1}, {b"k": 1}, {"a": {("t",): 1}}])
def test_a_key_that_is_not_a_string_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="key must be a string"):
        wire.canonical_json(value)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), Decimal("1.5"), 1j, len])
def test_a_value_without_json_form_is_refused_by_type_name(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=type(value).__name__) as caught:
        wire.canonical_json([value])
    assert caught.value.remedy


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidInputError, match="nested too deeply"):
        wire.canonical_json(loop)


def test_the_value_is_not_changed() -> None:
    value = {"b": 1, "1": 2}
    wire.canonical_json(value)
    assert list(value) == ["b", "1"]
