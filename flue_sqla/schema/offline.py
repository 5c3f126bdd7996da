"""The script for a DBA: stamp, version table, revisions, in this order, and where the database allows it safe to run twice.

Alembic's own offline mode would create its version table first and without IF NOT EXISTS, and insert the revision unconditionally; so
the frame around the revisions is written here.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from flue_sqla.dialects.ddl import SchemaDialect, schema_dialect
from flue_sqla.errors import ConfigurationError
from flue_sqla.models import profile_of
from flue_sqla.schema.facts import Placement
from flue_sqla.schema.release import ADOPTED_KEY, FORMAT_KEY, FORMAT_VERSION, LEGACY_KEY, LEGACY_RENAMED, META_TABLE, REVISIONS
from flue_sqla.schema.scripts import script_location

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

__all__ = ["compiled", "script_text", "stamp_script", "unknown_revision", "write_script"]


def compiled(statement: sa.Executable, dialect: sa.Dialect) -> str:
    """The statement's text with its values in it."""
    arguments = {} if isinstance(statement, sa.schema.ExecutableDDLElement) else {"compile_kwargs": {"literal_binds": True}}
    return str(statement.compile(dialect=dialect, **arguments)).strip()  # type: ignore[attr-defined]


def script_text(dialect_name: str, placement: Placement, *, adopt: bool, revision: str = "head") -> str:
    """The whole script from base to ``revision``."""
    from alembic.runtime.migration import MigrationContext

    profile_of(dialect_name)
    buffer = io.StringIO()
    options = {"as_sql": True, "output_buffer": buffer, "version_table": placement.version_table}
    # Named parameters, so that no driver's escaping of % gets into the text.
    context = MigrationContext.configure(dialect_name=dialect_name, dialect_opts={"paramstyle": "named"}, opts=options)
    write_script(context, placement, adopt=adopt, revision=revision)
    return buffer.getvalue()


def write_script(context: MigrationContext, placement: Placement, *, adopt: bool, revision: str) -> None:
    """Write the script to the context's output.

    Raises ConfigurationError for a revision that does not exist.
    """
    from alembic.script import ScriptDirectory
    from alembic.script.revision import RevisionError

    ways = schema_dialect(context.dialect)
    context.opts.update(flue_schema=placement.schema, flue_guarded=True)
    script = ScriptDirectory(str(script_location()))
    try:
        revisions = list(script.iterate_revisions(revision, "base"))[::-1]
    except RevisionError as error:
        raise unknown_revision(revision) from error
    write = context.impl.static_output
    write("\n".join(f"-- {line}" for line in _head(ways, adopt=adopt)))
    if ways.transactional_ddl:
        write("BEGIN;")
    if placement.schema is not None:
        for statement in ways.schema_script(placement.schema):
            write(compiled(statement, context.dialect) + ";")
    for statement in stamp_script(context.dialect, placement, adopt=adopt):
        write(compiled(statement, context.dialect) + ";")
    version = _version_table(placement)
    write(compiled(CreateTable(version, if_not_exists=True), context.dialect) + ";")
    for found in revisions:
        write(f"-- Revision {found.revision}: {found.doc}")
        found.module.upgrade(context)
        write(compiled(_record(version, found.revision, found.down_revision), context.dialect) + ";")
    if ways.transactional_ddl:
        write("COMMIT;")


def unknown_revision(revision: str) -> ConfigurationError:
    """No script has this name."""
    return ConfigurationError(
        f"The revision {revision!r} does not exist in this release.",
        meta={"revision": revision, "known": list(REVISIONS)},
        remedy="Name one of the known revisions, or head or base.",
    )


def _head(ways: SchemaDialect, *, adopt: bool) -> Iterator[str]:
    if adopt:
        yield "flue_sqla: adopts a database that a Flue 2.x server created (format_version 1, or schema_version 8). Not for an empty one."
        yield "Existing tables are not verified by this script: run `flue-sqla verify` afterwards."
    else:
        yield "flue_sqla: for an EMPTY database or schema. For one that a Flue 2.x server created use --adopt (alembic: -x adopt=yes)."
    yield "It stops at its first INSERT where the database is not what it is for: run it so that an error ends it."
    if ways.index_if_not_exists:
        yield "It may be run again, after an interruption or by mistake."
    else:
        yield "MySQL has no CREATE INDEX IF NOT EXISTS, so it cannot be run twice: `flue-sqla upgrade` finishes an interrupted one."


def stamp_script(dialect: sa.Dialect, placement: Placement, *, adopt: bool) -> Iterator[sa.Executable]:
    """The statements that check and stamp, for a script: NULL goes into a NOT NULL column where the database is not the expected one."""
    from flue_sqla.schema.stamp import meta_of

    ways = schema_dialect(dialect)
    meta = meta_of(dialect, placement.schema)
    yield CreateTable(meta, if_not_exists=True)
    if adopt:
        yield (
            sa.update(meta)
            .where(meta.c.key == LEGACY_KEY, meta.c.value == LEGACY_RENAMED, ~_has(meta, FORMAT_KEY))
            .values(key=FORMAT_KEY, value=str(FORMAT_VERSION))
        )
    others = ways.relations(placement.schema).where(*_other_than(ways, placement))
    unfit = _has(meta, LEGACY_KEY) | sa.exists(others)
    # A stamp that is missing, on a database that is not empty: refuse. One that is there: leave it.
    yield _insert(meta, FORMAT_KEY, sa.case((unfit, sa.null()), else_=str(FORMAT_VERSION)), ~_has(meta, FORMAT_KEY))
    yield _insert(meta, FORMAT_KEY, sa.null(), _has(meta, FORMAT_KEY, value_is_not=str(FORMAT_VERSION)))
    if placement.branch:
        return
    foreign = sa.exists(others) & ~sa.exists(ways.relations(placement.schema).where(_name_is(ways, placement.version_table)))
    yield _insert(meta, ADOPTED_KEY, sa.literal("yes") if adopt else sa.null(), foreign, ~_has(meta, ADOPTED_KEY))


def _other_than(ways: SchemaDialect, placement: Placement) -> list[sa.ColumnElement[bool]]:
    return [sa.not_(_name_is(ways, META_TABLE)), sa.not_(_name_is(ways, placement.version_table))]


def _name_is(ways: SchemaDialect, name: str) -> sa.ColumnElement[bool]:
    column: sa.ColumnElement[Any] = next(iter(ways.relations(None).selected_columns))
    return getattr(column, "element", column) == name


def _has(meta: sa.Table, key: str, *, value_is_not: str | None = None) -> sa.ColumnElement[bool]:
    # An alias, because MySQL does not let an UPDATE or INSERT look at its own table without one.
    seen = sa.select(meta.c.key, meta.c.value).subquery("seen")
    statement: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(seen).where(seen.c.key == key)
    if value_is_not is not None:
        statement = statement.where(seen.c.value != value_is_not)
    return sa.exists(statement)


def _insert(meta: sa.Table, key: str, value: Any, *conditions: sa.ColumnElement[bool]) -> sa.Executable:
    one = sa.select(sa.literal_column("1").label("one")).subquery("one_row")
    row = sa.select(sa.literal(key), value).select_from(one).where(*conditions)
    return sa.insert(meta).from_select([meta.c.key, meta.c.value], row, include_defaults=False)


def _version_table(placement: Placement) -> sa.Table:
    """As Alembic creates it."""
    return sa.Table(
        placement.version_table,
        sa.MetaData(schema=placement.version_schema),
        sa.Column("version_num", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("version_num", name=f"{placement.version_table}_pkc"),
    )


def _record(version: sa.Table, revision: str, down_revision: Any) -> sa.Executable:
    if down_revision is not None:
        return sa.update(version).where(version.c.version_num == down_revision).values(version_num=revision)
    one = sa.select(sa.literal_column("1").label("one")).subquery("one_row")
    seen = sa.select(version.c.version_num).subquery("seen")
    row = sa.select(sa.literal(revision)).select_from(one).where(~sa.exists(sa.select(sa.literal_column("1")).select_from(seen)))
    return sa.insert(version).from_select([version.c.version_num], row, include_defaults=False)
