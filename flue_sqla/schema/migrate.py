"""Running the revisions: upgrade, downgrade, current, and the script for a DBA.

Alembic's ``MigrationContext`` is driven directly, without ``env.py``: its global ``op`` and ``context`` are one per process, and several
threads or tasks may boot at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TextIO

import sqlalchemy as sa

from flue_sqla.dialects.ddl import SchemaDialect, schema_dialect
from flue_sqla.errors import ConfigurationError
from flue_sqla.schema.connections import glance_at, under_lock
from flue_sqla.schema.encoding import refuse_other_encodings
from flue_sqla.schema.facts import Placement
from flue_sqla.schema.scripts import script_location
from flue_sqla.schema.stamp import apply_stamp
from flue_sqla.schema.verdict import Verdict, VerdictKind, judge_placed, judge_thoroughly

if TYPE_CHECKING:
    from alembic.runtime.migration import RevisionStep
    from alembic.script import ScriptDirectory

__all__ = ["LOCK_TIMEOUT_MS", "admit", "current", "downgrade", "offline_sql", "revision_options", "upgrade"]

LOCK_TIMEOUT_MS = 60_000

Steps = Callable[["ScriptDirectory", Any], Iterable["RevisionStep"]]


def upgrade(
    bind: sa.Engine | sa.Connection,
    revision: str = "head",
    *,
    schema: str | None = None,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
    sql: bool = False,
    output: TextIO | None = None,
    adopt: bool = False,
) -> Verdict:
    """Bring the schema to ``revision``, under the lock and after judging it.

    Args:
        bind: An engine; or a connection, whose own transaction, if it is in one, is neither committed nor rolled back.
        revision: An Alembic revision identifier.
        schema: Where our tables are or will be; None for the default schema. A missing one is created on PostgreSQL.
        lock_timeout_ms: How long to wait for locks, in milliseconds.
        sql: Write the script to ``output`` instead; nothing is executed.
        output: Where the script goes.
        adopt: The script is for a database that a Flue 2.x server created. (Online, the verdict tells.)

    Returns:
        The verdict afterwards, with ``previous`` saying what the database was; the verdict before where nothing had to be done.

    Raises:
        PersistedFormatVersionError, SchemaVersionError: the verdict forbids it; nothing was changed.
        MigrationLockTimeout, DatabaseUnavailableError, SchemaPermissionError: see ``connections.under_lock``.
    """
    if sql:
        _write(output, offline_sql(bind.dialect.name, schema=schema, adopt=adopt, revision=revision))
        return Verdict(VerdictKind.UNJUDGED, None, None, "Only the script was written.")
    placement = Placement(schema)
    ways = schema_dialect(bind.dialect)

    def work(connection: sa.Connection) -> Verdict:
        verdict = admit(connection, ways, placement)
        if verdict.compatible:
            return verdict
        _run(connection, ways, placement, revision, lambda script, heads: script._upgrade_revs(revision, heads))
        return replace(judge_thoroughly(connection, ways, placement), previous=verdict.kind)

    return under_lock(bind, schema, lock_timeout_ms, work)


def downgrade(
    bind: sa.Engine | sa.Connection,
    revision: str = "base",
    *,
    schema: str | None = None,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
    force: bool = False,
) -> Verdict:
    """Take the schema back to ``revision``. Arguments and errors as ``upgrade``.

    Raises SchemaVersionError while unsettled submissions exist or on a database that a Flue server created, unless ``force``.
    """
    placement = Placement(schema)
    ways = schema_dialect(bind.dialect)

    def work(connection: sa.Connection) -> Verdict:
        verdict = judge_thoroughly(connection, ways, placement)
        if not (verdict.compatible or verdict.kind is VerdictKind.BEHIND):
            raise verdict.error()
        _run(connection, ways, placement, revision, lambda script, heads: script._downgrade_revs(revision, heads), force=force)
        return replace(judge_thoroughly(connection, ways, placement), previous=verdict.kind)

    return under_lock(bind, schema, lock_timeout_ms, work)


def current(
    bind: sa.Engine | sa.Connection,
    *,
    schema: str | None = None,
    version_table: str | None = None,
    version_table_schema: str | None = None,
    branch: bool | None = None,
) -> Verdict:
    """The verdict on a database; see ``verdict.judge``. A ``version_table`` of another name than ours is a host's.

    Raises DatabaseUnavailableError or SchemaPermissionError when it cannot be reached or read.
    """
    placement = Placement.of(schema, version_table, version_table_schema, branch)
    return judge_placed(bind, placement) if isinstance(bind, sa.Connection) else glance_at(bind, placement)


def offline_sql(
    dialect_name: str,
    *,
    schema: str | None = None,
    adopt: bool = False,
    revision: str = "head",
    version_table: str | None = None,
    version_table_schema: str | None = None,
) -> str:
    """The script that a DBA runs on an empty database, or with ``adopt`` on one that a Flue 2.x server created.

    Raises ConfigurationError for a dialect that is not supported, and where the history is a host's.
    """
    from flue_sqla.schema.offline import script_text

    placement = Placement.of(schema, version_table, version_table_schema)
    if placement.branch:
        raise ConfigurationError(
            f"The history is in {placement.version_table}, which belongs to the application.",
            meta={"versionTable": placement.version_table},
            remedy="Run `alembic upgrade heads --sql` in the application that owns the version table.",
        )
    return script_text(dialect_name, placement, adopt=adopt, revision=revision)


def admit(connection: sa.Connection, ways: SchemaDialect, placement: Placement) -> Verdict:
    """Judge under the lock, and stamp where migrating is allowed. The verdict is the one before the stamp.

    Raises PersistedFormatVersionError or SchemaVersionError when the verdict forbids migrating, or the database's character set does.
    """
    verdict = judge_thoroughly(connection, ways, placement)
    if verdict.compatible:
        return verdict
    if not verdict.migratable:
        raise verdict.error()
    refuse_other_encodings(connection, ways, placement.schema)
    apply_stamp(connection, ways, placement, verdict)
    return verdict


def revision_options(ways: SchemaDialect, placement: Placement, *, force: bool = False) -> dict[str, Any]:
    """What a ``MigrationContext`` of ours is configured with; ``revision.py`` reads the ``flue_`` ones again."""
    return {
        "version_table": placement.version_table,
        "version_table_schema": placement.version_schema,
        "transactional_ddl": ways.transactional_ddl,
        "flue_schema": placement.schema,
        "flue_guarded": True,
        "flue_force": force,
    }


def _run(connection: sa.Connection, ways: SchemaDialect, placement: Placement, revision: str, steps: Steps, *, force: bool = False) -> None:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    from flue_sqla.schema.offline import unknown_revision

    script = ScriptDirectory(str(script_location()))
    options = {
        **revision_options(ways, placement, force=force),
        "script": script,
        "destination_rev": revision,
        "fn": lambda heads, _: steps(script, heads),
    }
    context = MigrationContext.configure(connection, opts=options)
    try:
        context.run_migrations(context=context)
    except CommandError as error:
        raise unknown_revision(revision) from error


def _write(output: TextIO | None, text: str) -> None:
    if output is None:
        raise ConfigurationError("upgrade(sql=True) needs an output to write to.", remedy="Pass output=, or call offline_sql().")
    output.write(text)
