"""Which ranges of an object to fetch, and when: the pure half of the seekable readers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from flue_sqla.artifacts.parts import MIB

__all__ = ["Block", "Pace", "ReadAhead"]

H = TypeVar("H")

_FIRST = 256 * 1024


@dataclass(frozen=True, slots=True)
class Pace:
    """How far to read ahead: blocks of at most ``block`` bytes, ``ahead`` of them in flight."""

    block: int = 4 * MIB
    ahead: int = 4


@dataclass(slots=True)
class Block(Generic[H]):
    """The bytes from ``start`` to ``end``; ``handle`` is whatever the reader waits on."""

    start: int
    end: int
    handle: H


class ReadAhead(Generic[H]):
    """A window of blocks that are being fetched, ahead of a reader.

    Sequential reads double the block size up to the pace's and keep its number of blocks in flight. A seek out of the window drops it,
    and starts small again: random access fetches little more than it asks for.
    """

    def __init__(self, size: int, fetch: Callable[[int, int], H], discard: Callable[[H], object], pace: Pace) -> None:
        self._size = size
        self._fetch = fetch
        self._discard = discard
        self._largest = pace.block
        self._ahead = pace.ahead
        self._next_block = min(_FIRST, pace.block)
        self._blocks: deque[Block[H]] = deque()
        self._sequential = False

    def locate(self, position: int, wanted: int) -> Block[H] | None:
        """The block that holds ``position``, with those after it on their way; None at the end of the object."""
        if position >= self._size:
            return None
        while self._blocks and self._blocks[0].end <= position:
            self._discard(self._blocks.popleft().handle)
            self._sequential = True
        if not self._blocks or self._blocks[0].start > position:
            if not (self._sequential and not self._blocks):
                self.reset()
            self._start(position, max(self._next_block, min(wanted, self._largest)))
        if self._sequential or wanted > self._next_block:
            self._fill()
        return self._blocks[0]

    def reset(self) -> None:
        """Drop every block: the reader jumped or is closing."""
        while self._blocks:
            self._discard(self._blocks.popleft().handle)
        self._next_block = min(_FIRST, self._largest)
        self._sequential = False

    def _fill(self) -> None:
        while len(self._blocks) <= self._ahead and self._blocks[-1].end < self._size:
            self._next_block = min(self._next_block * 2, self._largest)
            self._start(self._blocks[-1].end, self._next_block)

    def _start(self, start: int, length: int) -> None:
        end = min(start + length, self._size)
        self._blocks.append(Block(start, end, self._fetch(start, end)))
