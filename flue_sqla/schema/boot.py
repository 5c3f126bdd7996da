"""What ``flue.boot()`` does about the schema, by mode. Never memoised: every call judges afresh."""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa

from flue_sqla.errors import ConfigurationError, SchemaVersionError
from flue_sqla.schema.connections import glance_at
from flue_sqla.schema.facts import Placement
from flue_sqla.schema.verdict import Verdict, VerdictKind

__all__ = ["Mode", "boot"]

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
    placement = Placement.of(schema, version_table, version_table_schema)
    verdict = glance_at(engine, placement)
    if verdict.compatible:
        return verdict
    if mode == "verify" or not _may_migrate(verdict):
        raise verdict.error()
    if placement.branch:
        raise _owned_by_host(verdict, placement)
    from flue_sqla.schema.migrate import upgrade

    return upgrade(engine, schema=schema, lock_timeout_ms=lock_timeout_ms)


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
