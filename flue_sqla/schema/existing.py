"""Tables that were there before our revision: are they what the specification says, and what do they lack?"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement
from sqlalchemy.types import TypeEngine

from flue_sqla.dialects.ddl import NO_TRANSLATION, RenameKey, SchemaDialect

__all__ = ["bring_up_to_date", "problems_of", "unique_keys"]

_FAMILIES: tuple[tuple[str, tuple[type[TypeEngine[Any]], ...]], ...] = (
    ("text", (sa.String,)),
    ("bytes", (sa.LargeBinary, sa.types._Binary)),
    ("number", (sa.Integer, sa.Boolean)),
)


def problems_of(connection: sa.Connection, metadata: sa.MetaData) -> list[str]:
    """What of the existing tables this release cannot work with, in words; empty when nothing.

    Extra tables, columns and indexes are fine (spec/schema.md §6), and so is a missing column that we can add.
    """
    inspector = sa.inspect(connection)
    problems: list[str] = []
    for table in _existing(inspector, metadata):
        problems += _column_problems(inspector, table, connection.dialect)
        problems += _key_problems(inspector, table)
    return problems


def bring_up_to_date(connection: sa.Connection, ways: SchemaDialect, metadata: sa.MetaData) -> None:
    """Create missing tables, add our own nullable columns, create missing indexes, give unique keys our names."""
    inspector = sa.inspect(connection)
    existing = {table.key for table in _existing(inspector, metadata)}

    def execute(statement: sa.Executable) -> None:
        connection.execute(statement, execution_options=NO_TRANSLATION)

    for table in metadata.sorted_tables:
        names: set[str | None] = set()
        if table.key in existing:
            for column in _missing_columns(inspector, table):
                execute(_AddColumn(table, column))
            if ways.names_unique_keys:
                for old, new in _misnamed_keys(inspector, table):
                    execute(RenameKey(table, old, new))
            names = {index["name"] for index in inspector.get_indexes(table.name, schema=table.schema)}
        else:
            execute(CreateTable(table, if_not_exists=True))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            if index.name not in names:
                execute(CreateIndex(index))


def _existing(inspector: sa.Inspector, metadata: sa.MetaData) -> list[sa.Table]:
    return [table for table in metadata.sorted_tables if inspector.has_table(table.name, schema=table.schema)]


def _missing_columns(inspector: sa.Inspector, table: sa.Table) -> list[sa.Column[Any]]:
    found = {column["name"] for column in inspector.get_columns(table.name, schema=table.schema)}
    return [column for column in table.columns if column.name not in found]


def _column_problems(inspector: sa.Inspector, table: sa.Table, dialect: sa.Dialect) -> list[str]:
    found = {column["name"]: column for column in inspector.get_columns(table.name, schema=table.schema)}
    problems = []
    for column in table.columns:
        there = found.get(column.name)
        if there is None:
            if not column.info.get("ours"):
                problems.append(f"{table.name}.{column.name} is missing")
        elif problem := _type_problem(column, there, dialect):
            problems.append(f"{table.name}.{column.name} {problem}")
    problems += [
        f"{table.name}.{name} is mandatory and unknown"
        for name, there in found.items()
        if name not in table.columns and not there["nullable"] and there.get("default") is None and "identity" not in there
    ]
    return problems


def _type_problem(column: sa.Column[Any], there: ReflectedColumn, dialect: sa.Dialect) -> str | None:
    wanted = column.type.dialect_impl(dialect)
    if _family(wanted) != _family(there["type"]):
        return f"is {there['type']}, not {wanted}"
    length, expected = getattr(there["type"], "length", None), getattr(wanted, "length", None)
    if length is not None and (expected is None or length < expected):
        return f"holds {length} characters, not {expected or 'any number'}"
    if column.nullable and not there["nullable"]:
        return "does not accept NULL"
    return None


def _family(kind: TypeEngine[Any]) -> str:
    actual = getattr(kind, "impl_instance", kind)
    return next((name for name, classes in _FAMILIES if isinstance(actual, classes)), type(actual).__name__)


def _key_problems(inspector: sa.Inspector, table: sa.Table) -> list[str]:
    problems = []
    primary = inspector.get_pk_constraint(table.name, schema=table.schema)["constrained_columns"]
    wanted = [column.name for column in table.primary_key.columns]
    if primary != wanted:
        problems.append(f"the primary key of {table.name} is ({', '.join(primary)}), not ({', '.join(wanted)})")
    unique = {columns for _, columns in unique_keys(inspector, table)}
    for constraint in _unique_constraints(table):
        columns = tuple(column.name for column in constraint.columns)
        if columns not in unique:
            problems.append(f"{table.name} has no unique key on ({', '.join(columns)})")
    return problems


def _unique_constraints(table: sa.Table) -> list[sa.UniqueConstraint]:
    return [constraint for constraint in table.constraints if isinstance(constraint, sa.UniqueConstraint)]


def unique_keys(inspector: sa.Inspector, table: sa.Table) -> list[tuple[str | None, tuple[str, ...]]]:
    """Name and columns of every unique key of an existing table, whether the database calls it a constraint or an index."""
    keys = [
        (constraint["name"], tuple(constraint["column_names"]))
        for constraint in inspector.get_unique_constraints(table.name, schema=table.schema)
    ]
    keys += [
        (index["name"], tuple(name or "" for name in index["column_names"]))
        for index in inspector.get_indexes(table.name, schema=table.schema)
        if index["unique"] and not any(option.endswith("_where") for option in index.get("dialect_options", {}))
    ]
    return keys


def _misnamed_keys(inspector: sa.Inspector, table: sa.Table) -> list[tuple[str, str]]:
    """Unique keys under another name than the models have: a server that named none of them chose one itself."""
    keys = unique_keys(inspector, table)
    renames = []
    for constraint in _unique_constraints(table):
        columns = tuple(column.name for column in constraint.columns)
        names = [name for name, found in keys if found == columns and name is not None]
        if names and str(constraint.name) not in names:
            renames.append((names[0], str(constraint.name)))
    return renames


class _AddColumn(ExecutableDDLElement):
    def __init__(self, table: sa.Table, column: sa.Column[Any]) -> None:
        self.table = table
        self.column = column


@compiles(_AddColumn)
def _compile_add_column(element: _AddColumn, compiler: Any, **_: Any) -> str:
    definition = compiler.get_column_specification(element.column)
    return f"ALTER TABLE {compiler.preparer.format_table(element.table)} ADD COLUMN {definition}"
