"""``UNSET``: "not given", as distinct from ``None``, which is JSON null."""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, Literal

from pydantic_core import core_schema

__all__ = ["UNSET", "Unset", "UnsetType"]


class Unset(Enum):
    """The type of :data:`UNSET`."""

    UNSET = "UNSET"

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "UNSET"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> core_schema.CoreSchema:
        # Only the sentinel itself: the default Enum schema would also take the string "UNSET" for it.
        return core_schema.is_instance_schema(cls)


UNSET: Final = Unset.UNSET
UnsetType = Literal[Unset.UNSET]
