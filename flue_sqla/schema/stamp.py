"""The rows of ``flue_meta`` that we write: the stamp, the floor of compatible releases, the mark of adoption."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from flue_sqla.dialects import implementation
from flue_sqla.dialects.ddl import NO_TRANSLATION, SchemaDialect
from flue_sqla.errors import PersistedFormatVersionError
from flue_sqla.models import metadata_for
from flue_sqla.schema.facts import Placement, meta_table
from flue_sqla.schema.release import ADOPTED_KEY, FORMAT_KEY, FORMAT_VERSION, LEGACY_KEY, LEGACY_RENAMED, META_TABLE
from flue_sqla.schema.verdict import Verdict, VerdictKind

__all__ = ["apply_stamp", "meta_of"]


def meta_of(dialect: sa.Dialect, schema: str | None) -> sa.Table:
    """``flue_meta`` as it is created in this database."""
    return metadata_for(dialect.name, schema).tables[f"{schema}.{META_TABLE}" if schema else META_TABLE]


def apply_stamp(connection: sa.Connection, ways: SchemaDialect, placement: Placement, verdict: Verdict) -> None:
    """Write what must stand before any other table is created (spec/schema.md §2.6), for a verdict that allows migrating.

    Raises PersistedFormatVersionError when another writer put a different stamp in at the same moment.
    """
    meta = meta_of(connection.dialect, placement.schema)
    if verdict.kind is VerdictKind.EMPTY:
        if placement.schema is not None:
            ways.ensure_schema(connection, placement.schema)
        connection.execute(CreateTable(meta, if_not_exists=True), execution_options=NO_TRANSLATION)
        # A stamp of NULL counts as absent, but its row would be in the way.
        connection.execute(sa.delete(meta).where(meta.c.key == FORMAT_KEY, meta.c.value.is_(None)), execution_options=NO_TRANSLATION)
        _insert(connection, meta, FORMAT_KEY, str(FORMAT_VERSION))
        _confirm(connection, placement)
    elif verdict.kind is VerdictKind.LEGACY_RENAME:
        _rename_legacy(connection, meta)
        _confirm(connection, placement)
    if verdict.adopts:
        _insert(connection, meta, ADOPTED_KEY, "yes")


def _insert(connection: sa.Connection, meta: sa.Table, key: str, value: str) -> None:
    statement = implementation(connection.dialect).insert_ignore(meta)
    connection.execute(statement, {"key": key, "value": value}, execution_options=NO_TRANSLATION)


def _rename_legacy(connection: sa.Connection, meta: sa.Table) -> None:
    statement = (
        sa.update(meta).where(meta.c.key == LEGACY_KEY, meta.c.value == LEGACY_RENAMED).values(key=FORMAT_KEY, value=str(FORMAT_VERSION))
    )
    connection.execute(statement, execution_options=NO_TRANSLATION)


def _confirm(connection: sa.Connection, placement: Placement) -> None:
    meta = meta_table(placement.schema)
    stored = connection.scalar(sa.select(meta.c.value).where(meta.c.key == FORMAT_KEY), execution_options=NO_TRANSLATION)
    if stored != str(FORMAT_VERSION):
        raise PersistedFormatVersionError(
            f'The format version "{stored}" was written by another process meanwhile; this release supports {FORMAT_VERSION}.',
            meta={"storedVersion": str(stored), "supportedVersion": FORMAT_VERSION},
            remedy="Find out which program writes to this database before trying again.",
        )
