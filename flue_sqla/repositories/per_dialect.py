"""Statements that each dialect words differently: built at first use, then always the same object, so that compiling hits the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from flue_sqla.dialects import DialectImpl

__all__ = ["PerDialect"]

T = TypeVar("T")


class PerDialect(Generic[T]):
    """``PerDialect(build)(dialect)`` is ``build(dialect)``, made once per kind of dialect."""

    def __init__(self, build: Callable[[DialectImpl], T]) -> None:
        self._build = build
        self._built: dict[type[DialectImpl], T] = {}

    def __call__(self, dialect: DialectImpl) -> T:
        kind = type(dialect)
        if kind not in self._built:
            # Two threads may both build; one of the two equal statements stays.
            self._built.setdefault(kind, self._build(dialect))
        return self._built[kind]
