"""Lists that are longer than one statement may have parameters: SQLite takes 32,766, a PostgreSQL driver 65,535."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

__all__ = ["AT_ONCE", "in_batches"]

T = TypeVar("T")

AT_ONCE: Final = 500
"""How many values one statement names: few enough for every database, so many that a statement costs little per value."""


def in_batches(items: Sequence[T], size: int = AT_ONCE) -> Iterator[Sequence[T]]:
    """Slices that one statement can name."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
