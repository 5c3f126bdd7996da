"""JSON as JavaScript writes and reads it, byte for byte (spec/streams.md §5)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Awaitable
from json.encoder import encode_basestring as _quote
from typing import Any, Final, NoReturn

from flue_sqla.errors import InvalidInputError

MAX_SAFE_INTEGER: Final = 2**53 - 1
"""The largest integer that JavaScript holds exactly."""

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_ARRAY_INDEX = 2**32 - 2


def canonical_json(value: Any) -> str:
    """Serialize as JavaScript's ``JSON.stringify`` would, byte for byte (spec/streams.md §5).

    Takes ``dict`` with ``str`` keys, ``list``, ``tuple``, ``str``, ``int``, ``float``, ``bool`` and ``None``. NaN and infinities become
    ``null``; a float is printed as ECMAScript prints it. Raises :class:`InvalidInputError` for anything that JavaScript could not hold:
    an ``int`` beyond ±(2^53 − 1), a key that is not ``str``, any other type, or a value nested too deeply (or in itself).
    """
    try:
        text = _serialize(value)
    except RecursionError:
        raise InvalidInputError("The value is nested too deeply, or contains itself, so it has no JSON text.") from None
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return _LONE_SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", paired)
    return text


def _serialize(value: Any) -> str:
    # One recursive writer for every value: measured on stream records it is as fast as json.dumps preceded by a scan for what json.dumps
    # prints differently (floats, integer-like keys, keys that are not strings), and there is no second path to keep equal.
    kind = type(value)
    if kind is str:
        return _quote(value)
    if kind is int and -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return str(value)
    if kind is dict:
        for key in value:
            if type(key) is not str or "0" <= key < ":":
                value = _javascript_order(value)
                break
        members = [_quote(key) + ":" + (_quote(item) if type(item) is str else _serialize(item)) for key, item in value.items()]
        return "{" + ",".join(members) + "}"
    if kind is list or kind is tuple:
        return "[" + ",".join([_serialize(item) for item in value]) + "]"
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is float:
        return _float_text(value)
    return _serialize(_plain(value))


def _plain(value: Any) -> Any:
    """An instance of a subclass (``StrEnum``, ``IntEnum``, named tuple, ordered dict …) as its built-in type; refuses the rest."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        if abs(value) <= MAX_SAFE_INTEGER:
            return int(value)
        raise InvalidInputError(
            "An integer beyond ±(2^53 − 1) loses precision in JavaScript, so it is not written.",
            meta={"bits": value.bit_length()},
            remedy="Send it as a string, or as a float if the loss of precision is acceptable.",
        )
    if isinstance(value, float):
        return float(value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, list | tuple):
        return list(value)
    raise InvalidInputError(
        f"A value of type {type(value).__name__} has no JSON form.",
        meta={"type": type(value).__name__},
        remedy="Await it first." if isinstance(value, Awaitable) else "Give None, booleans, numbers, text, and lists and dicts of these.",
    )


def _javascript_order(value: dict[Any, Any]) -> dict[str, Any]:
    """The same members, array indices first in numeric order, as a JavaScript object holds them."""
    indices: list[str] = []
    for key in value:
        if not isinstance(key, str):
            raise InvalidInputError(f"An object key must be a string, found {type(key).__name__}.", meta={"type": type(key).__name__})
        if "0" <= key < ":" and _is_array_index(key):
            indices.append(key)
    if not indices:
        return value
    ordered = {key: value[key] for key in sorted(indices, key=int)}
    ordered.update(value)
    return ordered


def _is_array_index(key: str) -> bool:
    return len(key) <= 10 and key.isascii() and key.isdigit() and (key[0] != "0" or key == "0") and int(key) <= _MAX_ARRAY_INDEX


def _float_text(value: float) -> str:
    """ECMAScript Number::toString; ``null`` where ``JSON.stringify`` says so."""
    magnitude = abs(value)
    if magnitude < 1e16:
        if value.is_integer():
            return int.__repr__(int(value))
        if magnitude >= 1e-4:
            return float.__repr__(value)
    elif not math.isfinite(value):
        return "null"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent_text = float.__repr__(magnitude).partition("e")
    digits, exponent = mantissa.replace(".", ""), int(exponent_text)
    if magnitude >= 1e21 or magnitude < 1e-6:
        return f"{sign}{mantissa}e{exponent:+d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    return f"{sign}{digits.ljust(exponent + 1, '0')}"


def _parsed_integer(text: str) -> int | float:
    # Beyond 2^53 JavaScript keeps the nearest double; as a float it prints exactly as Node would print it again.
    if len(text) < 16:
        return int(text)
    nearest = float(text)
    return nearest if abs(nearest) > MAX_SAFE_INTEGER else int(text)


def _parsed_object(value: dict[str, Any]) -> dict[str, Any]:
    for key in value:
        if "0" <= key < ":":
            return _javascript_order(value)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(object_hook=_parsed_object, parse_int=_parsed_integer, parse_constant=_refuse_constant).decode


def parse_json(text: str) -> Any:
    """Parse as ``JSON.parse`` would: object keys in JavaScript's order, the last of duplicate keys, integers beyond 2^53 as doubles.

    ``canonical_json(parse_json(text)) == text`` for every text that ``JSON.stringify`` produced. Raises ``ValueError`` for anything else
    than one JSON value, or for one nested too deeply.
    """
    try:
        return _decode(text)
    except RecursionError:
        raise ValueError("The JSON text is nested too deeply.") from None


def utf16_length(text: str) -> int:
    """The length that JavaScript sees: UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def require_integer(number: Any, field: str, *, bits: int = 53) -> int:
    """``number`` itself if it is an integer within ±(2^bits − 1); more than 53 bits JavaScript cannot hold exactly.

    Raises :class:`InvalidInputError` naming ``field`` for anything else, a float or a bool included.
    """
    if type(number) is not int or number.bit_length() > bits:
        raise InvalidInputError(f"{field} must be an integer within ±(2^{bits} − 1).", meta={"field": field})
    return number


def require_storable(text: Any, field: str) -> str:
    """``text`` itself if every supported database can hold it in a plain text column.

    Raises :class:`InvalidInputError` naming ``field`` when it is not a ``str``, contains U+0000 (PostgreSQL refuses it) or a lone
    surrogate (it has no UTF-8 form). JSON columns need no such check: canonical JSON escapes both.
    """
    if not isinstance(text, str):
        raise InvalidInputError(f"{field} must be a string, found {type(text).__name__}.", meta={"field": field})
    if "\0" in text:
        raise InvalidInputError(f"{field} contains the character U+0000, which a text column cannot hold.", meta={"field": field})
    if not text.isascii() and _LONE_SURROGATE.search(text):
        raise InvalidInputError(f"{field} contains a lone surrogate, which has no UTF-8 form.", meta={"field": field})
    return text
