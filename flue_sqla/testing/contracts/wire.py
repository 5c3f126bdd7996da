"""X11: canonical JSON, byte for byte what ``JSON.stringify`` writes (spec/streams.md §5). Needs no store."""

from __future__ import annotations

from typing import Any

import pytest

from flue_sqla.wire import canonical_json, parse_json, utf16_length

__all__ = ["WireContract"]


class WireContract:
    """Several stored texts are compared as text by a Node server, so a single byte matters."""

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (1.0, "1"),
            (-0.0, "0"),
            (0.000001, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e300, "1.5e+300"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (123456789.125, "123456789.125"),
            (5e-324, "5e-324"),
            (0.1 + 0.2, "0.30000000000000004"),
            (2**53 - 1, "9007199254740991"),
            (True, "true"),
            (None, "null"),
        ],
    )
    def test_x11_numbers_and_atoms(self, value: Any, text: str) -> None:
        assert canonical_json(value) == text

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ({"b": 1, "a": 2, "10": 3, "9": 4, "01": 5}, '{"9":4,"10":3,"b":1,"a":2,"01":5}'),
            ({"4294967294": 1, "a": 2, "4294967295": 3, "0": 4}, '{"0":4,"4294967294":1,"a":2,"4294967295":3}'),
            ({"a": None, "b": [None, {}]}, '{"a":null,"b":[null,{}]}'),
            ({"-1": 1, "1.0": 2, "": 3, "1": 4}, '{"1":4,"-1":1,"1.0":2,"":3}'),
        ],
    )
    def test_x11_keys_that_look_like_indices_come_first(self, value: Any, text: str) -> None:
        assert canonical_json(value) == text

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ('"\\/', '"\\"\\\\/"'),
            ("\b\t\n\f\r", '"\\b\\t\\n\\f\\r"'),
            ("\x00\x1f\x7f", '"\\u0000\\u001f\x7f"'),
            ("\u2028\u2029é\U0001f916", '"\u2028\u2029é\U0001f916"'),
            ("\ud83e", '"\\ud83e"'),
            ("\udd16\ud83e", '"\\udd16\\ud83e"'),
        ],
    )
    def test_x11_escapes(self, value: str, text: str) -> None:
        assert canonical_json(value) == text

    @pytest.mark.parametrize(
        "text",
        ['{"9":4,"10":3,"b":1,"a":2,"01":5}', '{"a":[1,1.5,"é\\u0000"],"b":null}', "[]", '{"x":{"1":{},"z":-1e-7}}', '"\\ud83e"'],
    )
    def test_x11_canonical_text_is_a_fixed_point_of_parse_and_stringify(self, text: str) -> None:
        assert canonical_json(parse_json(text)) == text

    def test_x11_parsing_orders_keys_as_javascript_does(self) -> None:
        assert list(parse_json('{"b":1,"10":2,"9":3,"b":4}').items()) == [("9", 3), ("10", 2), ("b", 4)]

    def test_x11_lengths_are_in_utf16_units(self) -> None:
        assert [utf16_length(text) for text in ("", "é", "\U0001f916", "\ud83e")] == [0, 1, 2, 1]
