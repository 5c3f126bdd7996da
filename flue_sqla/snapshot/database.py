"""The database side of a snapshot: one view to export from, and the errors of both directions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from flue_sqla.dialects import implementation
from flue_sqla.errors import ConfigurationError, SnapshotConflictError, SnapshotError
from flue_sqla.schema.connections import connected
from flue_sqla.schema.facts import Placement
from flue_sqla.schema.release import VERSION_TABLE
from flue_sqla.schema.verdict import judge
from flue_sqla.snapshot.rows import Rows
from flue_sqla.transactions import typed

if TYPE_CHECKING:
    from flue_sqla.flue import Flue

__all__ = ["Rows", "one_view", "refuse_foreign_schema", "refused_rows", "require_flue", "typed_errors"]


def require_flue(flue: Flue) -> None:
    """Refuse anything but the blocking face.

    Raises:
        ConfigurationError: an AsyncFlue was given.
    """
    from flue_sqla.flue import Flue

    if not isinstance(flue, Flue):
        raise ConfigurationError(
            f"A snapshot needs a Flue, not {type(flue).__name__}.",
            remedy="Open a Flue on the same database, and call it through asyncio.to_thread in async code.",
        )


@contextmanager
def one_view(flue: Flue) -> Iterator[Rows]:
    """The rows of the database as they are at one moment, whatever others write meanwhile.

    Raises:
        PersistedFormatVersionError, SchemaVersionError: the database is not at this release's revision.
        DatabaseUnavailableError: it cannot be reached.
    """
    dialect = implementation(flue.engine.dialect)
    with typed_errors(flue), connected(flue.engine) as connection:
        connection = connection.execution_options(**dialect.snapshot_options)
        with connection.begin() as transaction:
            rows = Rows(connection, dialect, flue.schema)
            dialect.begin_snapshot(connection)
            refuse_foreign_schema(flue, connection)
            yield rows
            transaction.rollback()


def refuse_foreign_schema(flue: Flue, connection: sa.Connection) -> None:
    """Raises the verdict's error unless the tables are those of this very release."""
    table = flue.settings.version_table or VERSION_TABLE
    placement = Placement(flue.schema, table, flue.settings.version_table_schema, branch=table != VERSION_TABLE)
    verdict = judge(
        connection,
        schema=placement.schema,
        version_table=placement.version_table,
        version_table_schema=placement.version_table_schema,
        branch=placement.branch,
    )
    if not verdict.compatible:
        raise verdict.error()


@contextmanager
def typed_errors(flue: Flue) -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        with refused_rows():
            yield
    except DBAPIError as error:
        raise typed(error, implementation(flue.engine.dialect)) from error


@contextmanager
def refused_rows() -> Iterator[None]:
    """Turn the database's refusal of a row into ours; that it is locked or gone is the caller's business."""
    try:
        yield
    except IntegrityError as error:
        raise SnapshotConflictError(
            f"The database refuses a row: {_first_line(error)}",
            remedy="Import into an empty database, or with --mode replace.",
        ) from error
    except DataError as error:
        raise SnapshotError(
            f"The database cannot hold a value: {_first_line(error)}", remedy="Import into a database that can hold it."
        ) from error


def _first_line(error: DBAPIError) -> str:
    # The lines after the first repeat the row.
    return str(error.orig).strip().partition("\n")[0]
