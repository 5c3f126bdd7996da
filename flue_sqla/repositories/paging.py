"""How many rows a page has (spec/streams.md §3.5, §10, spec/runs.md §3)."""

from __future__ import annotations

import math

from flue_sqla.errors import InvalidInputError

__all__ = ["DEFAULT_LIMIT", "MAXIMUM_LIMIT", "at_least_one", "page_limit"]

DEFAULT_LIMIT = 100
MAXIMUM_LIMIT = 1000


def page_limit(limit: float | None) -> int:
    """The contract's reading of a limit: absent, zero, negative, NaN or infinite is 100, more than 1000 is 1000.

    Raises:
        InvalidInputError: a fraction, or not a number.
    """
    if limit is None:
        return DEFAULT_LIMIT
    if isinstance(limit, bool) or not isinstance(limit, int | float):
        raise InvalidInputError(f"A limit is a number of rows, found {type(limit).__name__}.", meta={"field": "limit"})
    if not math.isfinite(limit) or limit <= 0:
        return DEFAULT_LIMIT
    if limit != int(limit):
        raise InvalidInputError("A limit is a whole number of rows.", meta={"field": "limit", "limit": limit})
    return min(int(limit), MAXIMUM_LIMIT)


def at_least_one(limit: int) -> int:
    """``limit`` itself; for calls of which no contract says how to read anything else.

    Raises:
        InvalidInputError: no whole number, or less than 1.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidInputError("A limit must be a whole number, at least 1.", meta={"field": "limit"})
    return limit
