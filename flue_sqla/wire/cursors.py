"""The cursor of a run listing (spec/runs.md §3)."""

from __future__ import annotations

import base64
from typing import NamedTuple

from flue_sqla.errors import InvalidInputError
from flue_sqla.wire.canonical import canonical_json, parse_json, require_storable
from flue_sqla.wire.ids import b64

_URL_SAFE = str.maketrans("-_", "+/")


class RunCursor(NamedTuple):
    """The last run of a page."""

    started_at: str
    run_id: str


def encode_run_cursor(started_at: str, run_id: str) -> str:
    """The opaque text that continues a listing after this run."""
    return b64(canonical_json({"s": started_at, "r": run_id}))


def decode_run_cursor(text: str | None) -> RunCursor | None:
    """The cursor, or None for whatever is not one: the listing then starts at the first page, as in Flue."""
    if not text:
        return None
    try:
        digits = text.rstrip("=").translate(_URL_SAFE)
        raw = base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
        value = parse_json(raw.decode())
        return RunCursor(require_storable(value["s"], "s"), require_storable(value["r"], "r"))
    except (ValueError, TypeError, KeyError, InvalidInputError):
        return None
