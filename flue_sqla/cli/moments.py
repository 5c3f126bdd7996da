"""Times and ages on the command line: what people read, and ``30d`` as they write it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

import click

from flue_sqla.wire import format_timestamp

__all__ = ["age", "age_of", "moment", "pause"]

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST: Final = timedelta(days=36_525)
_LONGEST_PAUSE: Final = 86_400
_AGE: Final = re.compile(r"(\d+)\s*([smhdw])")


def age(text: str) -> timedelta:
    """A number and one of s, m, h, d, w; the type of a command line option."""
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(f"{text!r} is no age; write 90s, 15m, 12h, 30d or 4w.")
    try:
        given = timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        given = timedelta.max
    if given > _LONGEST:
        raise click.BadParameter(f"{text!r} is longer ago than anything can be.")
    return given


def pause(text: str) -> float:
    """Seconds between looks; the type of a command line option."""
    seconds = float(text)
    if not 0.1 <= seconds <= _LONGEST_PAUSE:  # not a number is neither
        raise click.BadParameter(f"{text!r} is not from 0.1 to {_LONGEST_PAUSE} seconds.")
    return seconds


def moment(ms: int | None) -> str | None:
    """Epoch ms as people read it, in UTC and to the second; None and 0 are no time."""
    return format_timestamp(ms).replace("T", " ")[:19] + "Z" if ms else None


def age_of(ms: int | None, now: int) -> str | None:
    """How long ago that was, in the largest whole units."""
    if ms is None:
        return None
    seconds = max(0, now - ms) // 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
