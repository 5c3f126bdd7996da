"""The base of all value objects: immutable, snake_case in Python, the contract's exact JSON object on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from flue_sqla.errors import InvalidInputError
from flue_sqla.records.unset import UNSET

__all__ = ["Record"]


class Record(BaseModel):
    """A frozen value object.

    ``None`` stands for an absent key unless the field is named in ``wire_nulls``; a field whose value may itself be JSON null uses
    ``UNSET`` for "absent" and is named there too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    wire_nulls: ClassVar[frozenset[str]] = frozenset()

    def to_wire(self) -> dict[str, Any]:
        """The contract's JSON object: camelCase keys in declared order, absent keys omitted, explicit nulls kept."""
        wire: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if value is UNSET or (value is None and name not in self.wire_nulls):
                continue
            wire[field.alias or name] = _plain(value)
        return wire

    @classmethod
    def from_wire(cls, obj: Mapping[str, Any]) -> Self:
        """Build the record from the contract's JSON object.

        Raises:
            InvalidInputError: no object, or a key is missing, unknown or of the wrong type.
        """
        if not isinstance(obj, Mapping):
            raise InvalidInputError(f"Not a {cls.__name__}: {type(obj).__name__} is no object.", meta={"record": cls.__name__})
        try:
            return cls.model_validate(dict(obj))
        except ValidationError as error:
            found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False, include_url=False))
            raise InvalidInputError(f"Not a {cls.__name__}: {found}.", meta={"record": cls.__name__}) from None


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_wire()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
