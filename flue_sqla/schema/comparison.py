"""What ``alembic check`` and ``revision --autogenerate`` compare: our models with our tables, and nothing that does not matter."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

import sqlalchemy as sa
from alembic.operations.ops import AlterColumnOp, MigrationScript, ModifyTableOps, OpContainer

from flue_sqla.schema.existing import unique_keys

__all__ = ["Comparison"]


class Comparison:
    """The hooks of one comparison, for ``context.configure``."""

    def __init__(self, connection: sa.Connection, schema: str | None) -> None:
        self._connection = connection
        self._schema = schema

    def include_name(self, name: str | None, type_: str, parent_names: MutableMapping[Any, str | None]) -> bool:
        """Only our own schema is looked at."""
        return name == self._schema if type_ == "schema" else True

    def include_object(self, item: Any, name: str | None, type_: str, reflected: bool, compare_to: Any) -> bool:
        """Leave out what others added, and keys that are there under no name."""
        if compare_to is not None:
            return True
        if reflected:
            # A host's tables, and whatever somebody added to ours, are none of our revisions' business (spec/schema.md §6).
            return False
        return not (isinstance(item, sa.UniqueConstraint) and self._exists(item))

    def _exists(self, constraint: sa.UniqueConstraint) -> bool:
        columns = tuple(column.name for column in constraint.columns)
        inspector = sa.inspect(self._connection)
        if not inspector.has_table(constraint.table.name, schema=self._schema):
            return False
        return columns in {found for _, found in unique_keys(inspector, constraint.table)}

    def without_implied(self, context: Any, revision: Any, directives: list[MigrationScript]) -> None:
        """Leave out that a primary key column accepts NULL: SQLite says so of a key that was declared without NOT NULL."""
        for directive in directives:
            for operations in (directive.upgrade_ops, directive.downgrade_ops):
                if operations is not None:
                    operations.ops = [*self._wanted(operations)]

    def _wanted(self, operations: OpContainer) -> Iterable[Any]:
        for operation in operations.ops:
            if isinstance(operation, ModifyTableOps):
                operation.ops = [found for found in operation.ops if not self._implied(found)]
                if not operation.ops:
                    continue
            yield operation

    def _implied(self, operation: Any) -> bool:
        if not isinstance(operation, AlterColumnOp) or operation.modify_nullable is None or operation.modify_type is not None:
            return False
        primary = sa.inspect(self._connection).get_pk_constraint(operation.table_name, schema=operation.schema)
        return operation.column_name in primary["constrained_columns"]
