"""Every row of spec/schema.md §2.1, in ``auto`` and in ``verify``; a refusal changes nothing."""

from __future__ import annotations

import pytest

from flue_sqla.dialects.engines import create_engine
from flue_sqla.errors import PersistedFormatVersionError, SchemaVersionError
from flue_sqla.schema.boot import boot
from flue_sqla.schema.verdict import Verdict, VerdictKind, judge
from tests.databases.contract import Database
from tests.schema.catalogs import catalog, create_flue_database, create_stamp, execute, stamps


def _boot(database: Database, mode: str = "auto") -> Verdict:
    engine = create_engine(database.url)
    try:
        return boot(engine, mode=mode)  # type: ignore[arg-type]
    finally:
        engine.dispose()


def _judge(database: Database) -> Verdict:
    engine = create_engine(database.url)
    with engine.connect() as connection:
        verdict = judge(connection)
    engine.dispose()
    return verdict


def _refused(database: Database, kind: VerdictKind, stored: str) -> PersistedFormatVersionError:
    before = catalog(database)
    assert _judge(database).kind is kind
    for mode in ("verify", "auto"):
        with pytest.raises(PersistedFormatVersionError) as caught:
            _boot(database, mode)
        assert caught.value.meta == {"storedVersion": stored, "supportedVersion": 1}
        assert caught.value.code == "persisted_format_version_unsupported"
        assert caught.value.remedy
    assert catalog(database) == before
    return caught.value


def test_row_1_a_right_stamp_is_believed_whatever_the_legacy_stamp_says(database: Database) -> None:
    create_stamp(database, ("format_version", "1"), ("schema_version", "3"))
    assert _boot(database).kind is VerdictKind.CURRENT
    assert stamps(database)["schema_version"] == "3"


@pytest.mark.parametrize(
    ("stored", "kind", "message"),
    [
        ("2", VerdictKind.AHEAD, "newer Flue version"),
        ("99", VerdictKind.AHEAD, "99"),
        ("0", VerdictKind.REFUSED_FORMAT, '"0"'),
        ("1.0", VerdictKind.REFUSED_FORMAT, '"1.0"'),
        ("", VerdictKind.REFUSED_FORMAT, '""'),
        ("one", VerdictKind.REFUSED_FORMAT, '"one"'),
    ],
)
def test_row_2_another_format_is_refused(database: Database, stored: str, kind: VerdictKind, message: str) -> None:
    create_stamp(database, ("format_version", stored), ("schema_version", "8"))
    error = _refused(database, kind, stored)
    assert message in str(error)
    assert "upgrade" not in f"{error} {error.remedy}".lower()


def test_row_2_comes_before_the_revision(migrated: Database) -> None:
    execute(migrated, "UPDATE flue_meta SET value = '2' WHERE value = '1'")
    _refused(migrated, VerdictKind.AHEAD, "2")


def test_row_3_legacy_8_is_renamed_and_adopted(database: Database) -> None:
    create_flue_database(database, stamp=("schema_version", "8"))
    assert _judge(database).kind is VerdictKind.LEGACY_RENAME
    with pytest.raises(SchemaVersionError):
        _boot(database, "verify")
    verdict = _boot(database)
    assert (verdict.kind, verdict.previous) == (VerdictKind.CURRENT, VerdictKind.LEGACY_RENAME)
    assert stamps(database) == {"format_version": "1", "flue_sqla_min_revision": "flue_0002", "flue_sqla_adopted": "yes"}


@pytest.mark.parametrize(
    ("stored", "kind", "message"),
    [
        ("3", VerdictKind.REFUSED_LEGACY, "no in-place path exists yet"),
        ("4", VerdictKind.REFUSED_LEGACY, "no in-place path exists yet"),
        ("7", VerdictKind.REFUSED_FORMAT, "newer Flue version"),
        ("x", VerdictKind.REFUSED_FORMAT, "unrecognized"),
    ],
)
def test_row_4_another_legacy_stamp_is_refused_and_left(database: Database, stored: str, kind: VerdictKind, message: str) -> None:
    create_stamp(database, ("schema_version", stored))
    assert message in str(_refused(database, kind, stored))
    assert stamps(database) == {"schema_version": stored}


def test_row_5_tables_without_a_stamp_are_refused(database: Database) -> None:
    execute(database, "CREATE TABLE flue_runs (run_id INTEGER)")
    error = _refused(database, VerdictKind.REFUSED_UNVERSIONED, "unversioned")
    assert "flue_runs" in str(error)


def test_row_5_also_beside_an_empty_meta_table(database: Database) -> None:
    create_stamp(database)
    execute(database, "CREATE TABLE flue_anything (id INTEGER)")
    _refused(database, VerdictKind.REFUSED_UNVERSIONED, "unversioned")


def test_row_5_counts_a_table_that_only_has_the_name_of_the_stamps(database: Database) -> None:
    execute(database, "CREATE TABLE flue_meta (id INTEGER)")
    error = _refused(database, VerdictKind.REFUSED_UNVERSIONED, "unversioned")
    assert "flue_meta" in str(error)


@pytest.mark.databases("postgres")
def test_row_5_counts_views_on_postgresql(database: Database) -> None:
    execute(database, "CREATE VIEW flue_view AS SELECT 1 AS one")
    _refused(database, VerdictKind.REFUSED_UNVERSIONED, "unversioned")


def test_row_5_takes_the_underscore_literally(database: Database) -> None:
    execute(database, "CREATE TABLE flueless (id INTEGER)", "CREATE TABLE influe_x (id INTEGER)")
    assert _boot(database).previous is VerdictKind.EMPTY


def test_row_6_an_empty_database_is_stamped_and_created(database: Database) -> None:
    assert _judge(database).kind is VerdictKind.EMPTY
    verdict = _boot(database)
    assert (verdict.kind, verdict.previous, verdict.revision) == (VerdictKind.CURRENT, VerdictKind.EMPTY, "flue_0002")
    assert stamps(database) == {"format_version": "1", "flue_sqla_min_revision": "flue_0002"}


def test_row_6_an_empty_meta_table_is_an_empty_database(database: Database) -> None:
    create_stamp(database)
    assert _boot(database).previous is VerdictKind.EMPTY


@pytest.mark.databases("sqlite", "postgres")
def test_a_stamp_of_null_counts_as_absent(database: Database) -> None:
    execute(
        database,
        "CREATE TABLE flue_meta (key TEXT PRIMARY KEY, value TEXT)",
        "INSERT INTO flue_meta VALUES ('format_version', NULL), ('schema_version', NULL)",
    )
    assert _judge(database).kind is VerdictKind.EMPTY
    assert _boot(database).previous is VerdictKind.EMPTY
    assert stamps(database)["format_version"] == "1"
