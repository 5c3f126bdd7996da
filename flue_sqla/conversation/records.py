"""Reading the fields of a stream record, and naming what is wrong with it (spec/streams.md §6, §7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from flue_sqla.errors import ConversationRecordInvariantError

Record: TypeAlias = Mapping[str, Any]


def violation(record: Record, invariant: int, reason: str) -> ConversationRecordInvariantError:
    """The error for ``record``; ``invariant`` is the number in spec/streams.md §7."""
    record_id, record_type = record.get("id"), record.get("type")
    return ConversationRecordInvariantError(
        f"The record {record_id!r} of type {record_type!r} breaks invariant {invariant}: {reason}",
        meta={"recordId": record_id, "recordType": record_type, "reason": f"invariant {invariant}: {reason}"},
        remedy="A Flue server cannot read this stream past the record; do not append it, or restore the stream from before it.",
    )


def text(record: Record, field: str, invariant: int) -> str:
    """A string field that must be there and not empty."""
    value = record.get(field)
    if not isinstance(value, str) or not value:
        raise violation(record, invariant, f"{field} must be a non-empty string")
    return value


def optional_text(record: Record, field: str, invariant: int) -> str | None:
    """A string field that may be absent; null is not absent."""
    return text(record, field, invariant) if field in record else None


def count(record: Record, field: str, invariant: int) -> int:
    """A field that must be a non-negative integer."""
    value = record.get(field)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise violation(record, invariant, f"{field} must be a non-negative integer")
    return value
