"""Epoch milliseconds and their ISO-8601 text, as JavaScript converts them (spec/submissions.md §3.3)."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta

from flue_sqla.errors import InvalidInputError

_ISO = re.compile(
    r"([0-9]{4}|[+-][0-9]{6})(?:-([0-9]{2})(?:-([0-9]{2}))?)?"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?)?([Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 -- naive on purpose: printed as UTC, and read as local where JavaScript does
_EPOCH_ORDINAL = _EPOCH.toordinal()
_MAX_DATE_MS = 8_640_000_000_000_000


def parse_timestamp(iso: str) -> int:
    """Epoch milliseconds of an ISO-8601 text, as JavaScript's ``Date.parse``: digits below the millisecond are dropped, a date alone is
    UTC, a time without offset is local. Raises ``ValueError`` when it is not such a text.
    """
    match = _ISO.fullmatch(iso)
    if match is None or match[1] == "-000000":
        raise ValueError(f"not an ISO-8601 timestamp: {iso!r}")
    year, month, day = int(match[1]), int(match[2] or 1), int(match[3] or 1)
    hour, minute, second = int(match[4] or 0), int(match[5] or 0), int(match[6] or 0)
    fraction = int((match[7] or "")[:3].ljust(3, "0"))
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour <= 24 and minute <= 59 and second <= 59):
        raise ValueError(f"not an ISO-8601 timestamp: {iso!r}")
    if hour == 24 and (minute or second or fraction):
        raise ValueError(f"not an ISO-8601 timestamp: {iso!r}")
    cycles, year_of_cycle = divmod(year - 2000, 400)  # the calendar repeats, and datetime has no year 0
    days = date(2000 + year_of_cycle, month, 1).toordinal() + day - 1 + cycles * 146_097 - _EPOCH_ORDINAL
    ms = (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + fraction
    if match[8] is None:
        ms = _local_to_utc(ms) if match[4] else ms
    elif match[8] not in "Zz":
        ms -= _offset_ms(match[8])
    if abs(ms) > _MAX_DATE_MS:
        raise ValueError(f"timestamp out of range: {iso!r}")
    return ms


def _offset_ms(text: str) -> int:
    hours, minutes = int(text[1:3]), int(text[-2:])
    if hours > 23 or minutes > 59:
        raise ValueError(f"not a UTC offset: {text!r}")
    return (hours * 60 + minutes) * (-60_000 if text[0] == "-" else 60_000)


def _local_to_utc(ms: int) -> int:
    try:
        return round((_EPOCH + timedelta(milliseconds=ms)).timestamp() * 1000)
    except (OverflowError, OSError) as error:
        raise ValueError("local time out of range") from error


def format_timestamp(ms: int) -> str:
    """``YYYY-MM-DDTHH:MM:SS.mmmZ``. Raises :class:`InvalidInputError` outside the years 1 to 9999."""
    try:
        return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds") + "Z"
    except OverflowError:
        raise InvalidInputError("The time is outside the years 1 to 9999.", meta={"ms": ms}) from None
