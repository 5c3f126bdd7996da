"""The database: is it there, what time does it have, what schema, and may this role do its work."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from flue_sqla.checks.report import Area, CheckReport
from flue_sqla.checks.steps import Failed, Steps, Warned
from flue_sqla.codes import Code
from flue_sqla.dialects import implementation
from flue_sqla.dialects.bulk import placed
from flue_sqla.dialects.ddl import schema_dialect
from flue_sqla.dialects.inspection import inspection
from flue_sqla.errors import DatabaseUnavailableError, SchemaVersionError
from flue_sqla.flue import Flue
from flue_sqla.models import metadata_for
from flue_sqla.models.tables import meta
from flue_sqla.schema.connections import connected
from flue_sqla.schema.migrate import current
from flue_sqla.schema.release import ADOPTED_KEY, HEAD, META_TABLE, VERSION_TABLE
from flue_sqla.schema.verdict import Verdict, VerdictKind

__all__ = ["DatabaseChecks"]

_NOTABLE_SKEW_MS: Final = 1_000
_WRONG_SKEW_MS: Final = 30_000
"""As long as a lease lives: beyond this, two hosts disagree about who is alive."""

_DEFERRED: Final = {"flue_begin": "DEFERRED"}


class DatabaseChecks:
    """The steps on one database; ``init`` migrates it."""

    def __init__(self, flue: Flue, report: CheckReport, steps: Steps, *, init: bool) -> None:
        self._flue = flue
        self._report = report
        self._steps = steps
        self._init = init
        self._questions = inspection(flue.engine.dialect.name)
        self._verdict: Verdict | None = None

    def run(self) -> None:
        """All steps that can be tried."""
        missing = schema_dialect(self._flue.engine.dialect).missing_file(self._flue.engine.url)
        if missing is not None and not self._init:
            self._nothing_there(missing)
            return
        if not self._steps.run("database", Area.DATABASE, self._connect):
            for name, area in (("clock", Area.DATABASE), ("schema", Area.SCHEMA), ("rights", Area.DATABASE)):
                self._steps.skip(name, area, "The database cannot be reached.")
            return
        self._steps.run("clock", Area.DATABASE, self._clock)
        if self._steps.run("schema", Area.SCHEMA, self._schema):
            self._steps.run("rights", Area.DATABASE, self._rights)
        else:
            self._steps.skip("rights", Area.DATABASE, "The tables are not there, or not those of this release.")
        self._report.features += self._features()

    def _nothing_there(self, path: Path) -> None:
        """Connecting would create the file, and a check leaves nothing behind."""

        def look() -> str:
            if not os.access(path.parent, os.W_OK | os.X_OK):
                raise DatabaseUnavailableError(f"The file {str(path)!r} cannot be created.", remedy="Name a file in a writable folder.")
            raise Warned(f"The file {str(path)!r} does not exist yet.", "")

        def refuse() -> str:
            self._report.verdict, self._report.supported_revision = VerdictKind.EMPTY.value, HEAD
            raise SchemaVersionError("There is no database yet.", remedy="Run `flue-sqla check --init`, or `flue-sqla upgrade`.")

        self._steps.run("database", Area.DATABASE, look)
        self._steps.skip("clock", Area.DATABASE, "There is no database yet.")
        self._steps.run("schema", Area.SCHEMA, refuse)
        self._steps.skip("rights", Area.DATABASE, "There is no database yet.")

    def _connect(self) -> str:
        with connected(self._flue.engine) as connection:
            connection = connection.execution_options(**_DEFERRED)
            connection.execute(sa.select(sa.literal(1)))
            return self._questions.version(connection)

    def _clock(self) -> str:
        statement = self._questions.clock()
        if statement is None:
            return "The database runs on this machine's clock."
        with connected(self._flue.engine) as connection:
            connection.execute(statement)  # the first one pays for what is not the answer
            before, started = self._flue.clock.now(), time.perf_counter()
            theirs = int(connection.execute(statement).scalar_one())
            trip = (time.perf_counter() - started) * 1000
        skew = round(theirs - (before + trip / 2))
        found = f"The database's clock is {abs(skew)} ms {'ahead of' if skew >= 0 else 'behind'} this host's (± {trip / 2:.1f} ms)."
        remedy = "Let both hosts follow the same time servers (chrony, systemd-timesyncd)."
        if abs(skew) - trip / 2 > _WRONG_SKEW_MS:
            raise Failed(found, remedy, Code.CLOCK_SKEW)
        if abs(skew) - trip / 2 > _NOTABLE_SKEW_MS:
            raise Warned(found, remedy)
        return found

    def _schema(self) -> str:
        verdict = self._boot() if self._init else self._judge()
        self._verdict = verdict
        self._report.verdict = verdict.kind.value
        self._report.schema_revision = verdict.revision
        self._report.supported_revision = HEAD
        self._report.format_version = verdict.format_version
        if not verdict.compatible:
            remedy = verdict.remedy
            if verdict.migratable:
                remedy = f"{remedy} Here `flue-sqla check --init` does it too."
            raise type(verdict.error())(verdict.message, remedy=remedy)
        if verdict.revision != HEAD:
            raise Warned(verdict.message, "Deploy the release that the database was migrated with.")
        if self._flue.settings.offload_attachments_above is not None and self._adopted():
            raise Warned(
                "A Flue server created this database; if it still uses it, it cannot read attachments that are kept as artifacts.",
                "Unset FLUE_OFFLOAD_ATTACHMENTS_ABOVE, or see that no Flue server reads these tables any more.",
            )
        return verdict.message

    def _adopted(self) -> bool:
        known = sa.select(meta.c.value).where(meta.c.key == ADOPTED_KEY)
        with connected(self._flue.engine) as connection:
            connection = connection.execution_options(**_DEFERRED)
            return connection.execute(known, execution_options=placed(self._flue.schema)).scalar() is not None

    def _boot(self) -> Verdict:
        settings = self._flue.settings.model_copy(update={"migrate": "auto"})
        return Flue(engine=self._flue.engine, schema=self._flue.schema, settings=settings).boot()

    def _judge(self) -> Verdict:
        settings = self._flue.settings
        return current(
            self._flue.engine,
            schema=self._flue.schema,
            version_table=settings.version_table,
            version_table_schema=settings.version_table_schema,
            branch=settings.version_table != VERSION_TABLE,
        )

    def _rights(self) -> str:
        """Use every right that the application needs, on no row, and roll back."""
        missing: list[str] = []
        tables = metadata_for(self._flue.engine.dialect.name).sorted_tables
        with connected(self._flue.engine) as connection, connection.begin() as transaction:
            for table in tables:
                uses = self._questions.uses(table)
                # The stamp is written by migrations only.
                for right, statement in uses if table.name != META_TABLE else [next(uses)]:
                    if not self._may(connection, statement):
                        missing.append(f"{right} on {table.name}")
            transaction.rollback()
        if missing:
            shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            remedy = "Grant the rights that `flue-sqla sql --grants` prints; a read-only server or file takes no application."
            raise Failed(f"The role may not: {shown}.", remedy, Code.RIGHTS_MISSING)
        return f"The role may read and write all {len(tables)} tables."

    def _may(self, connection: sa.Connection, statement: sa.Executable) -> bool:
        try:
            with connection.begin_nested():
                connection.execute(statement, execution_options=placed(self._flue.schema)).close()
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            return False
        return True

    def _features(self) -> list[str]:
        """What the database makes possible."""
        dialect = implementation(self._flue.engine.dialect)
        known = {
            "notifications": dialect.notifications,
            "one-statement-operations": dialect.single_statement,
            "skip-locked": dialect.skip_locked,
            "concurrent-writers": dialect.row_locks,
        }
        return [name for name, present in known.items() if present]
