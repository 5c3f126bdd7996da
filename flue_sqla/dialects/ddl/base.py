"""What differs between databases when a schema is judged, locked and changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql.compiler import DDLCompiler
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

__all__ = ["NO_TRANSLATION", "Obstacle", "RenameKey", "SchemaDialect", "pause"]

NO_TRANSLATION: dict[str, Any] = {"schema_translate_map": {}}
"""Execution options of every statement here: our tables carry their schema, and a host's map must not move them."""


class Obstacle(Enum):
    """What a driver's error means while a schema is read or changed."""

    LOCKED = "locked"
    """Somebody else holds a lock; the same transaction may succeed later."""
    COLLISION = "collision"
    """Somebody created the same thing at the same time; looking again tells."""
    FORBIDDEN = "forbidden"
    """The role or the file does not allow it."""
    UNREACHABLE = "unreachable"
    """There is no usable database at the other end."""
    OTHER = "other"


class SchemaDialect:
    """One database's ways; each subclass overrides what it does otherwise."""

    profile: ClassVar[str]
    transactional_ddl: ClassVar[bool] = True
    """A death in the middle of a migration leaves nothing behind."""
    failure_ends_transaction: ClassVar[bool] = False
    """After a statement that failed, the rest of the transaction is refused."""
    index_if_not_exists: ClassVar[bool] = True
    """CREATE INDEX IF NOT EXISTS; MySQL has none, MariaDB has."""
    names_unique_keys: ClassVar[bool] = True
    """Unique keys have names that another writer may have chosen otherwise, and that can be changed."""
    begin_options: ClassVar[dict[str, Any]] = {}
    """Execution options of the migrating connection."""
    glance_options: ClassVar[dict[str, Any]] = {}
    """Execution options of a connection that sends one SELECT and nothing else."""
    missing_schema: ClassVar[str] = ""
    """What to do about a schema that is not there, where migrating does not create it."""
    encoding_remedy: ClassVar[str] = ""
    """What to do about a character set that does not hold every text."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self.dialect = dialect

    def missing_file(self, url: sa.URL) -> Path | None:
        """The file that connecting would create; None where nothing is created."""
        return None

    # -- reading ----------------------------------------------------------------------------------------------------------------

    def relations(self, schema: str | None) -> sa.Select[Any]:
        """The names of all relations called ``flue_…`` in ``schema`` (spec/schema.md §2.1), in a column ``name``."""
        raise NotImplementedError

    def find_schema(self, schema: str) -> sa.Select[Any] | None:
        """Finds ``schema`` itself; None where a missing one is as good as an empty one, since migrating creates it."""
        return None

    def foreign_layout(self, connection: sa.Connection, schema: str | None, tables: frozenset[str]) -> str | None:
        """The name of a layout that this release cannot read, if the tables are in it (spec/schema.md §3.10)."""
        return None

    def other_encodings(self, schema: str | None, tables: Sequence[str]) -> sa.Select[Any] | sa.CompoundSelect[Any] | None:
        """Finds the database and columns of ``tables`` that do not hold every text, in columns ``name`` and ``encoding``.

        None where all of them do.
        """
        return None

    # -- changing ---------------------------------------------------------------------------------------------------------------

    def lock(self, connection: sa.Connection, schema: str | None, timeout_ms: int) -> AbstractContextManager[bool]:
        """Hold the migration lock of ``schema`` inside the connection's transaction. The value says whether it was granted in time."""
        raise NotImplementedError

    def join(self, connection: sa.Connection, schema: str | None, timeout_ms: int) -> AbstractContextManager[bool]:
        """The same inside a transaction that somebody else began, and in which statements may have run."""
        return self.lock(connection, schema, timeout_ms)

    def ensure_schema(self, connection: sa.Connection, schema: str) -> None:
        """Create the schema if it is missing, where a schema is something below a database."""

    def schema_script(self, schema: str) -> Sequence[sa.Executable]:
        """The same for a script: statements that may run twice."""
        return ()

    # -- errors -----------------------------------------------------------------------------------------------------------------

    def obstacle(self, error: DBAPIError) -> Obstacle:
        """Classify a driver's error."""
        raise NotImplementedError


def pause(seconds: float) -> None:
    """Wait without blocking the event loop when called from behind SQLAlchemy's greenlet bridge."""
    if in_greenlet():
        await_only(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


@contextmanager
def restored(connection: sa.Connection, restore: sa.Executable | str) -> Iterator[None]:
    """Put a setting back when the block ends; on a connection that broke meanwhile there is nothing to put back."""
    try:
        yield
    finally:
        with suppress(DBAPIError):
            if not connection.invalidated and not connection.closed:
                connection.execute(sa.text(restore) if isinstance(restore, str) else restore)


class RenameKey(ExecutableDDLElement):
    """Give a unique key the name that the models have for it."""

    inherit_cache = False

    def __init__(self, table: sa.Table, old: str, new: str) -> None:
        self.table = table
        self.old = old
        self.new = new


@compiles(RenameKey, "postgresql")
def _rename_constraint(element: RenameKey, compiler: DDLCompiler, **_: Any) -> str:
    return _rename(element, compiler, "CONSTRAINT")


@compiles(RenameKey, "mysql", "mariadb")
def _rename_index(element: RenameKey, compiler: DDLCompiler, **_: Any) -> str:
    return _rename(element, compiler, "INDEX")


def _rename(element: RenameKey, compiler: DDLCompiler, kind: str) -> str:
    preparer = compiler.preparer
    return (
        f"ALTER TABLE {preparer.format_table(element.table)} RENAME {kind} {preparer.quote(element.old)} TO {preparer.quote(element.new)}"
    )


FLUE_PREFIX = "flue!_%"
"""LIKE pattern, with ``!`` as the escape character, of every name that Flue counts as its own (spec/schema.md §2.1)."""
