"""What a revision script works with.

A revision runs in three ways: under our guard (``boot``, ``upgrade``, our ``env.py``), in a host's own history where nothing of ours ran
before it, and offline. ``Step`` hides which, so that a script only says what it changes and which older releases may stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateIndex, CreateTable, DropTable

from flue_sqla.dialects.ddl import NO_TRANSLATION, SchemaDialect, schema_dialect
from flue_sqla.errors import SchemaVersionError
from flue_sqla.models import profile_of
from flue_sqla.schema.existing import bring_up_to_date, problems_of
from flue_sqla.schema.facts import Placement
from flue_sqla.schema.failures import lock_timeout
from flue_sqla.schema.migrate import LOCK_TIMEOUT_MS, admit
from flue_sqla.schema.offline import compiled, stamp_script
from flue_sqla.schema.release import ADOPTED_KEY, FLOOR_KEY
from flue_sqla.schema.stamp import meta_of

if TYPE_CHECKING:
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

__all__ = ["Step", "step"]


class Step:
    """One revision being applied or taken back on one database."""

    def __init__(self, context: MigrationContext) -> None:
        self.context = context
        self.schema = _schema_of(context)
        self.profile = profile_of(context.dialect.name)
        self.ways: SchemaDialect = schema_dialect(context.dialect)

    @property
    def op(self) -> Operations:
        """Alembic's operations bound to this step's connection. Give them ``schema=step.schema``."""
        from alembic.operations import Operations

        return Operations(self.context)

    @property
    def connection(self) -> sa.Connection:
        """The connection; only online."""
        bind = self.context.bind
        assert bind is not None, "there is no connection offline"
        return bind

    def execute(self, statement: sa.Executable) -> None:
        """Execute a statement, or write it into the script when offline."""
        if self.context.as_sql:
            self.context.impl.static_output(compiled(statement, self.context.dialect) + ";")
        else:
            self.connection.execute(statement, execution_options=NO_TRANSLATION)

    def create_missing(self, metadata: sa.MetaData) -> None:
        """Create the tables and indexes that are not there, after verifying those that are.

        Raises SchemaVersionError when an existing table lacks what we need; nothing was created then.
        """
        if self.context.as_sql:
            self._create_all(metadata)
            return
        problems = problems_of(self.connection, metadata)
        if problems:
            raise SchemaVersionError(
                f"Existing tables are not as the specification has them: {'; '.join(problems)}.",
                meta={"problems": problems},
                remedy="Compare them with `flue-sqla sql`, correct or move them away, then migrate again; nothing was changed.",
            )
        bring_up_to_date(self.connection, self.ways, metadata)

    def _create_all(self, metadata: sa.MetaData) -> None:
        for table in metadata.sorted_tables:
            self.execute(CreateTable(table, if_not_exists=True))
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                self.execute(CreateIndex(index, if_not_exists=self.ways.index_if_not_exists))

    def drop(self, metadata: sa.MetaData) -> None:
        """Drop the tables."""
        for table in reversed(metadata.sorted_tables):
            self.execute(DropTable(table, if_exists=True))

    def declare_floor(self, revision: str) -> None:
        """Write down the oldest revision whose release may keep running on the schema as it is now."""
        self._forget(FLOOR_KEY)
        self.execute(sa.insert(self._meta).values(key=FLOOR_KEY, value=revision))

    def forget_floor(self) -> None:
        """Back at base: no release runs there, and no Flue server's tables are left."""
        self._forget(FLOOR_KEY)
        self._forget(ADOPTED_KEY)

    def _forget(self, key: str) -> None:
        self.execute(sa.delete(self._meta).where(self._meta.c.key == key))

    @property
    def _meta(self) -> sa.Table:
        return meta_of(self.context.dialect, self.schema)

    def goes_below(self, revision: str) -> bool:
        """Whether this downgrade takes back ``revision`` too: what that would refuse must be refused before anything is done."""
        script, destination = self.context.script, self.context.opts.get("destination_rev")
        if self.context.as_sql or script is None or destination is None:
            return False
        taken_back = script.iterate_revisions(self.context.get_current_heads(), destination, select_for_downgrade=True)
        return any(found.revision == revision for found in taken_back)

    def refuse_loss(self) -> None:
        """Refuse to take back what somebody may still need, unless forced. Offline nothing can be looked at.

        Raises SchemaVersionError while unsettled submissions exist, and on a database that a Flue server created.
        """
        if self.context.as_sql or _flag(self.context, "force"):
            return
        adopted = self.connection.scalar(sa.select(self._meta.c.value).where(self._meta.c.key == ADOPTED_KEY))
        if adopted is not None:
            raise SchemaVersionError(
                "A Flue server created this database and may be using it, so its tables are not dropped.",
                meta={"adopted": True},
                remedy="Keep the tables, or repeat the command with `-x force=yes` to lose them.",
            )
        submissions = sa.table("flue_agent_submissions", sa.column("status"), schema=self.schema)
        unsettled = self._count(submissions, submissions.c.status != "settled")
        if unsettled:
            raise SchemaVersionError(
                f"{unsettled} submissions are not settled, so their tables are not dropped.",
                meta={"unsettled": unsettled},
                remedy="Let the work settle, or repeat the command with `-x force=yes` to lose it.",
            )

    def refuse_rows(self, table: sa.Table, what: str) -> None:
        """Refuse to drop a table that has rows, unless forced; ``what`` says why they are needed. Offline nothing can be looked at.

        Raises SchemaVersionError.
        """
        if self.context.as_sql or _flag(self.context, "force"):
            return
        count = self._count(table)
        if count:
            raise SchemaVersionError(
                f"{table.name} has {count} rows ({what}), so it is not dropped.",
                meta={"table": table.name, "rows": count},
                remedy="Remove what they are about, or repeat the command with `-x force=yes` to lose it.",
            )

    def _count(self, table: sa.TableClause, *conditions: sa.ColumnElement[bool]) -> int:
        """How many rows there are; 0 where an interrupted downgrade has dropped the table already."""
        if not sa.inspect(self.connection).has_table(table.name, schema=self.schema):
            return 0
        counted = sa.select(sa.func.count()).select_from(table).where(*conditions)
        return self.connection.scalar(counted, execution_options=NO_TRANSLATION) or 0


@contextmanager
def step(context: MigrationContext | None) -> Iterator[Step]:
    """What a revision's ``upgrade`` and ``downgrade`` run in.

    ``context`` is what our own runner passes; a host's ``env.py`` passes nothing, and Alembic's global ``op`` tells. There the step first
    takes the lock, judges and stamps, because nothing of ours did it before.
    """
    if context is None:
        from alembic import op

        context = op.get_context()
    current = Step(context)
    if context.opts.get("flue_guarded"):
        yield current
    elif context.as_sql:
        for statement in stamp_script(context.dialect, Placement(current.schema, branch=True), adopt=_flag(context, "adopt")):
            current.execute(statement)
        yield current
    else:
        with current.ways.join(current.connection, current.schema, LOCK_TIMEOUT_MS) as granted:
            if not granted:
                raise lock_timeout(LOCK_TIMEOUT_MS)
            admit(current.connection, current.ways, _placement_in_host(context, current.schema))
            yield current


def _placement_in_host(context: MigrationContext, schema: str | None) -> Placement:
    return Placement(schema, context.version_table, context.version_table_schema, branch=True)


def _schema_of(context: MigrationContext) -> str | None:
    """Our schema: from our own runner, or from the host's ``context.configure(flue_schema=…)`` or ``flue_schema`` in its ini file."""
    if "flue_schema" in context.opts:
        named: Any = context.opts["flue_schema"]
        return None if named is None else str(named)
    config = context.config
    return None if config is None else config.get_main_option("flue_schema")


def _flag(context: MigrationContext, name: str) -> bool:
    if context.opts.get(f"flue_{name}"):
        return True
    environment = context.environment_context
    return environment is not None and environment.get_x_argument(as_dictionary=True).get(name) in ("yes", "true", "1")
