"""Long texts of the ``sqlite`` profile: cut into chunk rows, put together again (spec/streams.md §3.6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from flue_sqla.errors import ConversationStreamStoreError
from flue_sqla.wire import canonical_json, parse_json, utf16_length

__all__ = ["Refusal", "chunk_count", "cut", "is_long", "is_sentinel", "joined", "sentinel"]

_THRESHOLD: Final = 1_048_576
_PART: Final = 524_288
_COUNT_KEY: Final = "$flueChunkCount"

Refusal = Callable[[str], ConversationStreamStoreError]


def is_long(text: str) -> bool:
    """Whether ``text`` is kept in chunk rows: longer than 1 048 576 UTF-16 units."""
    return utf16_length(text) > _THRESHOLD


def cut(text: str) -> list[str]:
    """Parts of 524 288 UTF-16 units; a part is one unit longer rather than splitting a surrogate pair."""
    if text.isascii():
        return [text[start : start + _PART] for start in range(0, len(text), _PART)]
    units = text.encode("utf-16-le")
    parts: list[str] = []
    start = 0
    while start < len(units):
        end = start + 2 * _PART
        if end < len(units) and 0xD8 <= units[end - 1] <= 0xDB:  # the high byte of a leading surrogate
            end += 2
        parts.append(units[start:end].decode("utf-16-le"))
        start = end
    return parts


def sentinel(count: int) -> str:
    """What the batch row holds instead of its text."""
    return canonical_json({_COUNT_KEY: count})


def is_sentinel(stored: str) -> bool:
    """Real batch text is an array."""
    return stored.startswith("{")


def chunk_count(stored: str, refused: Refusal) -> int:
    """The number of chunks that a sentinel promises."""
    try:
        count = parse_json(stored).get(_COUNT_KEY)
    except ValueError:
        count = None
    if type(count) is not int or count < 1:
        raise refused("Spilled batch sentinel is malformed.")
    return count


def joined(rows: Sequence[tuple[int, int, str]], count: int, refused: Refusal, *, subject: str = "Spilled batch") -> str:
    """The text of chunk rows (index, recorded count, part) in index order."""
    if len(rows) != count:
        raise refused(f"{subject} chunk rows do not match the recorded count.")
    if any(index != expected or recorded != count for expected, (index, recorded, _) in enumerate(rows)):
        raise refused(f"{subject} chunk rows are not contiguous.")
    return "".join(part for _, _, part in rows)
