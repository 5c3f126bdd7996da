"""What ``flue.boot()`` does about the schema, by mode. Never memoised: every call judges afresh."""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from flue_sqla.dialects.ddl import NO_TRANSLATION, schema_dialect
from flue_sqla.errors import ConfigurationError, SchemaVersionError
from flue_sqla.schema.facts import Placement
from flue_sqla.schema.failures import as_refusal
from flue_sqla.schema.lock import connected
from flue_sqla.schema.release import VERSION_TABLE
from flue_sqla.schema.verdict import Verdict, VerdictKind, judge

__all__ = ["Mode", "boot", "boot_verdict"]

Mode = Literal["auto", "verify", "off"]

_LOCK_TIMEOUT_MS = 60_000


def boot(
    engine: sa.Engine,
    *,
    mode: Mode = "auto",
    schema: str | None = None,
    lock_timeout_ms: int = _LOCK_TIMEOUT_MS,
    version_table: str | None = None,
    version_table_schema: str | None = None,
) -> Verdict:
    """Make sure that this release may run on the database.

    Args:
        engine: Any engine; behind SQLAlchemy's greenlet bridge the sync side of an async one.
        mode: ``auto`` migrates what can be migrated, ``verify`` accepts only what is current and changes nothing, ``off`` does not look.
        schema: Where our tables are or will be; None for the default schema.
        lock_timeout_ms: How long to wait for the migration lock, in milliseconds.
        version_table: The version table of the host whose history our revisions are part of; None where the history is our own.
        version_table_schema: Its schema.

    Returns:
        The verdict on the database as it is now; ``previous`` is set if this very call migrated it.

    Raises:
        PersistedFormatVersionError, SchemaVersionError: what was found is not what this release needs; nothing was changed.
        MigrationLockTimeout: another process held the lock for too long.
        DatabaseUnavailableError: the database cannot be reached.
        SchemaPermissionError: the role may not read, or not migrate, the schema.
        ConfigurationError: an unknown mode.
    """
    if mode not in ("auto", "verify", "off"):
        raise ConfigurationError(
            f"The migrate mode {mode!r} is unknown.", meta={"mode": mode}, remedy="Use auto, verify or off (FLUE_MIGRATE)."
        )
    if mode == "off":
        return Verdict(VerdictKind.UNJUDGED, None, None, "Nobody looked at the database: migrate=off.")
    named = version_table or VERSION_TABLE
    placement = Placement(schema, named, version_table_schema, branch=named != VERSION_TABLE)
    verdict = boot_verdict(engine, placement)
    if verdict.compatible:
        return verdict
    if mode == "verify" or not _may_migrate(verdict):
        raise verdict.error()
    if placement.branch:
        raise _owned_by_host(verdict, placement)
    from flue_sqla.schema.migrate import upgrade

    return upgrade(engine, schema=schema, version_table_schema=version_table_schema, lock_timeout_ms=lock_timeout_ms)


def boot_verdict(engine: sa.Engine, placement: Placement) -> Verdict:
    """The verdict over a connection of our own: one statement on a current database, no transaction around it.

    Raises DatabaseUnavailableError or SchemaPermissionError where the database cannot be reached or read.
    """
    ways = schema_dialect(engine.dialect)
    try:
        with connected(engine) as connection:
            connection.execution_options(**ways.glance_options, **NO_TRANSLATION)
            return judge(
                connection,
                schema=placement.schema,
                version_table=placement.version_table,
                version_table_schema=placement.version_table_schema,
                branch=placement.branch,
            )
    except DBAPIError as error:
        refusal = as_refusal(error, ways, engine.url, 0)
        if refusal is None:
            raise
        raise refusal from error


def _may_migrate(verdict: Verdict) -> bool:
    # Tables without a stamp are judged once more under the lock: where DDL commits one by one, a catalog read beside a migration in
    # progress may show a later table and miss an earlier one.
    return verdict.migratable or verdict.kind is VerdictKind.REFUSED_UNVERSIONED


def _owned_by_host(verdict: Verdict, placement: Placement) -> SchemaVersionError:
    return SchemaVersionError(
        f"{verdict.message} Its history is in {placement.version_table}, which belongs to the application, so boot does not migrate it.",
        meta={"verdict": verdict.kind.value, "versionTable": placement.version_table},
        remedy="Run `alembic upgrade heads` in the application that owns the version table.",
    )
