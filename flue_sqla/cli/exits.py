"""Exit codes: what a script can branch on without reading text. ``docs/errors.md`` lists them."""

from __future__ import annotations

from enum import IntEnum

from flue_sqla import errors

__all__ = ["Exit", "exit_code"]


class Exit(IntEnum):
    OK = 0
    FAILURE = 1
    """An expected failure of no other kind."""
    USAGE = 2
    """Wrong command line or settings; nothing was changed."""
    DATABASE = 3
    """The database cannot be reached or refuses the login."""
    SCHEMA = 4
    """The database is reachable, but its schema is not one that this release may use."""
    STORE = 5
    """The object store cannot be reached or refuses."""
    INTERRUPTED = 130


_CODES: tuple[tuple[type[errors.FlueError], Exit], ...] = (
    (errors.ConfigurationError, Exit.USAGE),
    (errors.InvalidInputError, Exit.USAGE),
    (errors.DatabaseUnavailableError, Exit.DATABASE),
    (errors.PersistedFormatVersionError, Exit.SCHEMA),
    (errors.SchemaVersionError, Exit.SCHEMA),
    (errors.ArtifactStoreError, Exit.STORE),
)


def exit_code(error: errors.FlueError) -> Exit:
    """The code that tells this kind of refusal."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILURE)
