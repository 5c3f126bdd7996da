"""The conclusion from the facts: revisions, floors, and whose history it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy.dialects import postgresql, sqlite

from flue_sqla.dialects.ddl import schema_dialect
from flue_sqla.dialects.engines import create_engine
from flue_sqla.errors import FlueError, PersistedFormatVersionError, SchemaVersionError
from flue_sqla.schema.boot import boot
from flue_sqla.schema.facts import Facts, Placement
from flue_sqla.schema.release import FLUE_TABLES, HEAD
from flue_sqla.schema.verdict import Verdict, VerdictKind, decide
from tests.databases.contract import Database
from tests.schema.catalogs import catalog, execute

OWN = Placement()
HOST = Placement(version_table="alembic_version", branch=True)
STAMP = {"format_version": "1"}
FLUE = FLUE_TABLES["postgres"]


def _decide(facts: Facts, placement: Placement = OWN) -> Verdict:
    return decide(facts, placement, schema_dialect(postgresql.dialect()))


def _versions(*names: str, floor: str | None = None) -> Facts:
    stamps = STAMP if floor is None else {**STAMP, "flue_sqla_min_revision": floor}
    return Facts(stamps, names, frozenset({"flue_alembic_version", *FLUE}))


@pytest.mark.parametrize(
    ("facts", "placement", "kind"),
    [
        (Facts(), OWN, VerdictKind.EMPTY),
        (_versions(HEAD), OWN, VerdictKind.CURRENT),
        (_versions("flue_0001"), OWN, VerdictKind.BEHIND),
        (_versions("flue_0009"), OWN, VerdictKind.AHEAD),
        (_versions("flue_0009", floor="flue_0009"), OWN, VerdictKind.AHEAD),
        (_versions("flue_0009", floor="flue_0008"), OWN, VerdictKind.AHEAD),
        (_versions("flue_0009", floor="flue_0001"), OWN, VerdictKind.AHEAD_COMPATIBLE),
        (_versions("a1b2c3", floor="flue_0001"), OWN, VerdictKind.AHEAD_COMPATIBLE),
        (Facts(STAMP, (), frozenset({"flue_alembic_version"})), OWN, VerdictKind.BEHIND),
        (Facts(STAMP, None, frozenset()), OWN, VerdictKind.BEHIND),
        (Facts(STAMP, (), frozenset({"flue_alembic_version", "flue_runs"})), OWN, VerdictKind.PARTIAL),
        (Facts(STAMP, (), FLUE | {"flue_alembic_version"}), OWN, VerdictKind.PARTIAL),
        (Facts(STAMP, None, FLUE), OWN, VerdictKind.ADOPTABLE),
        (Facts(STAMP, None, FLUE | {"flue_anything"}), OWN, VerdictKind.ADOPTABLE),
        (Facts(STAMP, None, frozenset({"flue_attachments"})), OWN, VerdictKind.PARTIAL),
        (Facts({**STAMP, "flue_sqla_min_revision": "flue_0001"}, None, FLUE), OWN, VerdictKind.REFUSED_HISTORY),
        (Facts(STAMP, None, FLUE, layout="libsql"), OWN, VerdictKind.REFUSED_LAYOUT),
        (Facts(STAMP, ("d4e5f6", HEAD), FLUE), HOST, VerdictKind.CURRENT),
        (Facts(STAMP, ("d4e5f6",), FLUE), HOST, VerdictKind.ADOPTABLE),
        (Facts(STAMP, ("d4e5f6",), frozenset()), HOST, VerdictKind.BEHIND),
        (Facts({}, ("d4e5f6",), frozenset()), HOST, VerdictKind.EMPTY),
        (Facts(STAMP, ("d4e5f6", "flue_0009"), FLUE), HOST, VerdictKind.AHEAD),
        (Facts({**STAMP, "flue_sqla_min_revision": "flue_0001"}, ("d4e5f6", "flue_0009"), FLUE), HOST, VerdictKind.AHEAD_COMPATIBLE),
    ],
)
def test_verdicts(facts: Facts, placement: Placement, kind: VerdictKind) -> None:
    verdict = _decide(facts, placement)
    assert verdict.kind is kind
    assert verdict.message
    if not verdict.compatible:
        assert verdict.remedy
        error = verdict.error()
        assert isinstance(error, (PersistedFormatVersionError, SchemaVersionError))
        assert (error.message, error.remedy) == (verdict.message, verdict.remedy)


def test_ahead_never_says_upgrade() -> None:
    for facts in (_versions("flue_0009"), _versions("flue_0009", floor="flue_0001"), Facts({"format_version": "2"})):
        verdict = _decide(facts)
        assert "upgrade" not in f"{verdict.message} {verdict.remedy}".lower()


def test_every_verdict_is_either_compatible_or_migratable_or_a_refusal() -> None:
    for kind in VerdictKind:
        verdict = Verdict(kind, None, None, "", "")
        assert not (verdict.compatible and verdict.migratable)
        refusal = kind.name.startswith("REFUSED") or kind is VerdictKind.AHEAD
        assert refusal is not (verdict.compatible or verdict.migratable)


def test_the_profile_decides_what_a_flue_server_creates() -> None:
    facts = Facts(STAMP, None, FLUE)
    assert decide(facts, OWN, schema_dialect(sqlite.dialect())).kind is VerdictKind.PARTIAL
    complete = replace(facts, tables=FLUE_TABLES["sqlite"])
    assert decide(complete, OWN, schema_dialect(sqlite.dialect())).kind is VerdictKind.ADOPTABLE


@pytest.mark.parametrize("mode", ["auto", "verify"])
def test_a_later_revision_that_allows_this_release(migrated: Database, mode: str) -> None:
    """What a rolling deploy looks like to the replicas that are still of this release."""
    execute(migrated, "UPDATE flue_alembic_version SET version_num = 'flue_0003'")
    before = catalog(migrated)
    engine = create_engine(migrated.url)
    verdict = boot(engine, mode=mode)  # type: ignore[arg-type]
    assert (verdict.kind, verdict.revision) == (VerdictKind.AHEAD_COMPATIBLE, "flue_0003")
    execute(migrated, "UPDATE flue_meta SET value = 'flue_0003' WHERE value = 'flue_0002'")
    with pytest.raises(FlueError, match="flue_0003"):
        boot(engine, mode=mode)  # type: ignore[arg-type]
    execute(migrated, "UPDATE flue_meta SET value = 'flue_0002' WHERE value = 'flue_0003'")
    engine.dispose()
    assert catalog(migrated) == before
