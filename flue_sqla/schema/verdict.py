"""The verdict on a database: what it is, whether this release may run on it, and what helps if not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from flue_sqla.dialects.ddl import SchemaDialect, schema_dialect
from flue_sqla.errors import FlueError, PersistedFormatVersionError, SchemaVersionError
from flue_sqla.schema.facts import Facts, Placement, examine, glance
from flue_sqla.schema.release import (
    FLOOR_KEY,
    FLUE_TABLES,
    FORMAT_KEY,
    FORMAT_VERSION,
    HEAD,
    LEGACY_KEY,
    LEGACY_RENAMED,
    REVISION_PREFIX,
    REVISIONS,
    VERSION_TABLE,
)

__all__ = ["Verdict", "VerdictKind", "decide", "judge", "judge_placed", "judge_thoroughly", "not_there"]


class VerdictKind(Enum):
    """What a database is to this release."""

    EMPTY = "empty"
    """Nothing of Flue's is there; migrating creates everything."""
    CURRENT = "current"
    """At this release's revision."""
    BEHIND = "behind"
    """At an older revision, or at base; migrating brings it forward."""
    ADOPTABLE = "adoptable"
    """A Flue 2.x server created it: stamp right, no version table; migrating adds what is missing."""
    LEGACY_RENAME = "legacy_rename"
    """``schema_version`` 8; migrating renames the stamp and adopts (spec/schema.md §2.1, row 3)."""
    PARTIAL = "partial"
    """A migration was interrupted on a database where DDL commits; migrating again finishes it."""
    AHEAD = "ahead"
    """At a revision that this release does not know, and that does not allow it."""
    AHEAD_COMPATIBLE = "ahead_compatible"
    """At a revision that this release does not know, but whose floor it meets: it may run and changes nothing."""
    REFUSED_FORMAT = "refused_format"
    """A stamp that this release does not read."""
    REFUSED_LEGACY = "refused_legacy"
    """The stamp of Flue 1 or of a beta of it; there is no in-place path."""
    REFUSED_UNVERSIONED = "refused_unversioned"
    """``flue_…`` tables without a stamp."""
    REFUSED_LAYOUT = "refused_layout"
    """A SQLite file in the layout of the libsql adapter."""
    REFUSED_HISTORY = "refused_history"
    """Our revisions ran in another version table than the one that was named."""
    UNJUDGED = "unjudged"
    """Nobody looked: ``migrate="off"``."""


_COMPATIBLE = frozenset({VerdictKind.CURRENT, VerdictKind.AHEAD_COMPATIBLE, VerdictKind.UNJUDGED})
_MIGRATABLE = frozenset({VerdictKind.EMPTY, VerdictKind.BEHIND, VerdictKind.ADOPTABLE, VerdictKind.LEGACY_RENAME, VerdictKind.PARTIAL})
_FORMAT_REFUSALS = frozenset({VerdictKind.REFUSED_FORMAT, VerdictKind.REFUSED_LEGACY, VerdictKind.REFUSED_UNVERSIONED})


@dataclass(frozen=True)
class Verdict:
    """What was found, in words and in values.

    ``revision`` is our revision in the version table (None: none). ``format_version`` is the stored stamp, of either key, or
    ``"unversioned"``, or None where there is nothing to stamp. ``previous`` is what the database was before the call that returned this
    verdict migrated it; None where nothing was migrated. ``adopts`` says that migrating takes over tables that were there before our
    first revision.
    """

    kind: VerdictKind
    revision: str | None
    format_version: str | None
    message: str
    remedy: str = ""
    previous: VerdictKind | None = None
    adopts: bool = False

    @property
    def compatible(self) -> bool:
        """Whether this release may run on the database as it is."""
        return self.kind in _COMPATIBLE

    @property
    def migratable(self) -> bool:
        """Whether migrating makes it current."""
        return self.kind in _MIGRATABLE

    def error(self) -> FlueError:
        """The refusal that this verdict means for a caller who needs a current database."""
        if self.kind in _FORMAT_REFUSALS or (self.kind is VerdictKind.AHEAD and self.revision is None):
            meta: dict[str, Any] = {"storedVersion": self.format_version, "supportedVersion": FORMAT_VERSION}
            return PersistedFormatVersionError(self.message, meta=meta, remedy=self.remedy)
        meta = {
            "verdict": self.kind.value,
            "revision": self.revision,
            "supportedRevision": HEAD,
            "formatVersion": self.format_version,
        }
        return SchemaVersionError(self.message, meta=meta, remedy=self.remedy)


def judge(
    connection: sa.Connection,
    *,
    schema: str | None = None,
    version_table: str = VERSION_TABLE,
    version_table_schema: str | None = None,
    branch: bool = False,
) -> Verdict:
    """Say what the database is. Changes nothing; one SELECT where it is migrated.

    Args:
        connection: A connection, in a transaction or not; it is left as it was.
        schema: Where our tables are; None for the connection's default.
        version_table: Where our revision is recorded.
        version_table_schema: Its schema; None for ``schema``, or in a branch for the connection's default.
        branch: The version table belongs to a host whose history our revisions are part of.

    Raises the driver's error when the database cannot be read.
    """
    return judge_placed(connection, Placement.of(schema, version_table, version_table_schema, branch))


def judge_placed(connection: sa.Connection, placement: Placement) -> Verdict:
    """As ``judge``."""
    ways = schema_dialect(connection.dialect)
    facts = glance(connection, ways, placement)
    if facts is not None and FORMAT_KEY in facts.stamps and _revisions(facts, placement) != ():
        return decide(facts, placement, ways)
    return judge_thoroughly(connection, ways, placement)


def judge_thoroughly(connection: sa.Connection, ways: SchemaDialect, placement: Placement) -> Verdict:
    """The verdict from the catalog, in the connection's own transaction: what a migration bases itself on under the lock."""
    joined = connection.in_transaction()
    try:
        return decide(examine(connection, ways, placement), placement, ways)
    finally:
        if not joined:
            connection.rollback()


def decide(facts: Facts, placement: Placement, ways: SchemaDialect) -> Verdict:
    """Draw the conclusion. The stamp is judged before Alembic's version, in the order of spec/schema.md §2.1."""
    stored = facts.stamps.get(FORMAT_KEY)
    if stored is not None:
        return _revision_verdict(facts, placement, ways) if stored == str(FORMAT_VERSION) else _foreign_format(stored)
    legacy = facts.stamps.get(LEGACY_KEY)
    if legacy == LEGACY_RENAMED:
        return Verdict(
            VerdictKind.LEGACY_RENAME,
            None,
            legacy,
            f"The database has the legacy stamp {LEGACY_KEY} = {LEGACY_RENAMED}, which is adopted by renaming it.",
            _migrate_remedy(placement),
            adopts=True,
        )
    if legacy is not None:
        return _foreign_legacy(legacy)
    if facts.tables:
        return _unversioned(facts.tables)
    where = "the database" if placement.schema is None else f"the schema {placement.schema!r}"
    return Verdict(VerdictKind.EMPTY, None, None, f"There are no flue_ tables in {where} yet.", _migrate_remedy(placement))


def not_there(file: Path, placement: Placement) -> Verdict:
    """The verdict on a SQLite file that does not exist yet: to migrate is to create it."""
    return Verdict(VerdictKind.EMPTY, None, None, f"The file {str(file)!r} does not exist yet.", _migrate_remedy(placement))


def _revisions(facts: Facts, placement: Placement) -> tuple[str, ...]:
    """Our own revisions in the version table; in a branch the host's stand beside them."""
    versions = facts.versions or ()
    return tuple(name for name in versions if name.startswith(REVISION_PREFIX)) if placement.branch else versions


def _revision_verdict(facts: Facts, placement: Placement, ways: SchemaDialect) -> Verdict:
    found = str(FORMAT_VERSION)
    if facts.layout is not None:
        return Verdict(
            VerdictKind.REFUSED_LAYOUT,
            None,
            found,
            f"The file is in the {facts.layout} layout; this release reads the layout of Flue's built-in SQLite store.",
            "Use another file, or copy the data with Flue's own tools.",
        )
    revisions = _revisions(facts, placement)
    unknown = [name for name in revisions if name not in REVISIONS]
    if unknown:
        return _ahead(unknown, facts.stamps.get(FLOOR_KEY))
    if HEAD in revisions:
        return Verdict(VerdictKind.CURRENT, HEAD, found, f"The schema is at {HEAD}, the revision of this release.")
    if revisions:
        message = f"The schema is at revision {revisions[0]}; this release needs {HEAD}."
        return Verdict(VerdictKind.BEHIND, revisions[0], found, message, _migrate_remedy(placement))
    return _without_revision(facts, placement, FLUE_TABLES[ways.profile])


def _without_revision(facts: Facts, placement: Placement, flue_tables: frozenset[str]) -> Verdict:
    """Stamped, but none of our revisions is recorded."""
    found = str(FORMAT_VERSION)
    tables = (facts.tables or frozenset()) - {placement.version_table}
    remedy = _migrate_remedy(placement)
    if FLOOR_KEY in facts.stamps and not placement.branch and facts.versions is None:
        return Verdict(
            VerdictKind.REFUSED_HISTORY,
            None,
            found,
            f"Our revisions ran here, but {placement.version_table} does not exist: they are recorded in another version table.",
            "Set version_table (FLUE_VERSION_TABLE) and version_table_schema to those of the application that owns the history.",
        )
    if not tables:
        message = f"The database is stamped and has no flue_ tables; this release needs revision {HEAD}."
        return Verdict(VerdictKind.BEHIND, None, found, message, remedy)
    # Our own migration creates its version table before any other; a host's is there from the start and tells nothing.
    ours_began = facts.versions is not None and not placement.branch
    if FLOOR_KEY in facts.stamps:
        message = f"Our tables are here, but {placement.version_table} records no revision of ours."
        if placement.branch:
            # Alembic records no revision that another one stands on: not even in a branch of its own, if the other depends on it.
            remedy += " If one of its revisions has ours as down_revision or depends_on, take that out first."
        return Verdict(VerdictKind.PARTIAL, None, found, message, remedy)
    if flue_tables <= tables and not ours_began:
        message = f"A Flue server created this database; it becomes {HEAD} by adding what is missing."
        return Verdict(VerdictKind.ADOPTABLE, None, found, message, remedy, adopts=True)
    there = "1 flue_ table" if len(tables) == 1 else f"{len(tables)} flue_ tables"
    message = f"A migration of this database was interrupted: {there} and no revision are there."
    return Verdict(VerdictKind.PARTIAL, None, found, message, remedy, adopts=facts.versions is None)


def _ahead(unknown: list[str], floor: str | None) -> Verdict:
    found = ", ".join(sorted(unknown))
    if floor in REVISIONS:
        message = f"The schema is at revision {found}, which this release ({HEAD}) does not know but is allowed to run on."
        return Verdict(VerdictKind.AHEAD_COMPATIBLE, unknown[0], str(FORMAT_VERSION), message)
    return Verdict(
        VerdictKind.AHEAD,
        unknown[0],
        str(FORMAT_VERSION),
        f"The schema is at revision {found}, which this release does not know; it supports revisions up to {HEAD}.",
        "Deploy the release of flue-sqla that the database was migrated with (pip install -U flue-sqla), or restore an older backup.",
    )


def _foreign_format(stored: str) -> Verdict:
    newer = _is_newer(stored)
    remedy = "Open it with the Flue or flue-sqla release that wrote it, or restore a backup; nothing was changed."
    return Verdict(VerdictKind.AHEAD if newer else VerdictKind.REFUSED_FORMAT, None, stored, _format_message(stored), remedy)


def _foreign_legacy(stored: str) -> Verdict:
    if stored not in ("3", "4"):
        remedy = "Open it with the Flue release that wrote it; nothing was changed."
        return Verdict(VerdictKind.REFUSED_FORMAT, None, stored, _format_message(stored), remedy)
    message = (
        f"The database was created by a pre-release of Flue ({LEGACY_KEY} = {stored}); this release supports format version "
        f"{FORMAT_VERSION}, and no in-place path exists yet."
    )
    remedy = "Use an empty database or schema, and let the Flue release that wrote this one finish its work."
    return Verdict(VerdictKind.REFUSED_LEGACY, None, stored, message, remedy)


def _unversioned(tables: Iterable[str]) -> Verdict:
    names = sorted(tables)
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return Verdict(
        VerdictKind.REFUSED_UNVERSIONED,
        None,
        "unversioned",
        f"{_format_message('unversioned')} It has tables named flue_… ({shown}) but no version stamp.",
        "Use an empty database or schema, or move the tables named flue_… away; nothing was changed.",
    )


def _format_message(stored: str) -> str:
    """The two forms of spec/schema.md §2.3."""
    if _is_newer(stored):
        return f"The database was created by a newer Flue version: its format version is {stored}, this release supports {FORMAT_VERSION}."
    return f'The format version "{stored}" of the database is unrecognized; this release supports {FORMAT_VERSION}.'


def _is_newer(stored: str) -> bool:
    return stored.isascii() and stored.isdigit() and int(stored) > FORMAT_VERSION


def _migrate_remedy(placement: Placement) -> str:
    if placement.branch:
        return "Run `alembic upgrade heads` in the application that owns the version table."
    return "Run `flue-sqla upgrade` (or `alembic upgrade head`), or boot with migrate=auto."
