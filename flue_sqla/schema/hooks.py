"""What a host puts into its own ``env.py`` so that its Alembic sees nothing of ours (docs/migrations.md).

    from flue_sqla.schema import hooks

    context.configure(…, include_name=hooks.include_name, include_object=hooks.include_object)

Only our own names are hidden, version table included; a table of the host's called ``flue_customers`` stays visible.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flue_sqla.models import Base
from flue_sqla.schema.release import VERSION_TABLE

__all__ = ["TABLES", "include_name", "include_object"]

TABLES = frozenset({*(table.name for table in Base.metadata.tables.values()), VERSION_TABLE, "flue_event_stream_keys"})
"""Every table that this library or a Flue server creates (the last one: spec/schema.md §4.7)."""


def include_name(name: str | None, type_: str, parent_names: Mapping[str, Any]) -> bool:
    """For ``context.configure(include_name=…)``: False for our tables and everything in them, before they are even reflected."""
    table = name if type_ == "table" else parent_names.get("table_name")
    return table not in TABLES


def include_object(item: Any, name: str | None, type_: str, reflected: bool, compare_to: Any) -> bool:
    """For ``context.configure(include_object=…)``: as ``include_name``, for a host whose ``target_metadata`` includes our models."""
    if type_ == "table":
        return name not in TABLES
    table = getattr(item, "table", None)
    return table is None or table.name not in TABLES
