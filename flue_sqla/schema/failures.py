"""Driver errors as refusals that say what to do, without secrets."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from flue_sqla.dialects import implementation
from flue_sqla.dialects.ddl import Obstacle, SchemaDialect
from flue_sqla.errors import DatabaseUnavailableError, FlueError, MigrationLockTimeout, SchemaPermissionError
from flue_sqla.redaction import Redactor

__all__ = ["as_refusal", "lock_timeout", "unavailable"]


def unavailable(url: sa.URL, dialect: sa.Dialect, error: BaseException) -> DatabaseUnavailableError:
    """The database could not be reached, or is none."""
    place = _place(url)
    return DatabaseUnavailableError(
        f"No usable database at {place}: {_text(error, url)}", meta={"database": place}, remedy=implementation(dialect).unreachable(url)
    )


def lock_timeout(timeout_ms: int) -> MigrationLockTimeout:
    """The migration lock was not granted in time; nothing was changed."""
    return MigrationLockTimeout(
        f"The migration lock, or a table lock that the migration needs, was not granted within {timeout_ms} ms; nothing was changed.",
        meta={"timeoutMs": timeout_ms},
        remedy="Wait for the other migration to end, or end the transaction that holds the tables, then start again.",
    )


def as_refusal(error: DBAPIError, ways: SchemaDialect, url: sa.URL, timeout_ms: int) -> FlueError | None:
    """The refusal that a driver's error means; None for one that is not expected here."""
    obstacle = ways.obstacle(error)
    if obstacle is Obstacle.LOCKED:
        return lock_timeout(timeout_ms)
    if obstacle is Obstacle.UNREACHABLE:
        return unavailable(url, ways.dialect, error)
    if obstacle is Obstacle.FORBIDDEN:
        return SchemaPermissionError(
            f"The database does not allow it: {_text(error, url)}",
            meta={"database": _place(url)},
            remedy="Migrate with a role that may create tables (`flue-sqla sql --grants`), and boot this one with migrate=verify.",
        )
    return None


def _place(url: sa.URL) -> str:
    where = f" on {url.host}{f':{url.port}' if url.port else ''}" if url.host else ""
    return f"{url.get_backend_name()} database {url.database or ''!r}{where}"


def _text(error: BaseException, url: sa.URL) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    text = " ".join(str(cause).split()) or type(cause).__name__
    return Redactor([url.password or ""]).clean(text)
