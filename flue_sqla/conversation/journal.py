"""Undo for the fold: a refused record, or a refused batch, leaves no trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Journal:
    """Every change of a folded state goes through here, so that it can be taken back."""

    __slots__ = ("_undo",)

    def __init__(self) -> None:
        self._undo: list[Callable[[], Any]] = []

    def set(self, target: object, name: str, value: object) -> None:
        """Set an attribute."""
        before = getattr(target, name)
        self._undo.append(lambda: setattr(target, name, before))
        setattr(target, name, value)

    def put(self, mapping: dict[K, V], key: K, value: V) -> None:
        """Set a key."""
        if key in mapping:
            before = mapping[key]
            self._undo.append(lambda: mapping.__setitem__(key, before))
        else:
            self._undo.append(lambda: mapping.pop(key))
        mapping[key] = value

    def append(self, items: list[V], value: V) -> None:
        """Append an item."""
        self._undo.append(items.pop)
        items.append(value)

    def commit(self) -> None:
        """Keep everything since the last commit."""
        self._undo.clear()

    def roll_back(self) -> None:
        """Take everything since the last commit back, last change first."""
        while self._undo:
            self._undo.pop()()
