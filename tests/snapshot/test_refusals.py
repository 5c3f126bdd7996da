"""A file that is wrong is refused as a whole: with a clear error, and with the database and the store as they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla import Flue, snapshot
from flue_sqla.errors import SchemaVersionError, SnapshotConflictError, SnapshotError
from tests.databases.contract import Database
from tests.snapshot import samples
from tests.snapshot.files import SnapshotFile

Change = Callable[[SnapshotFile], Any]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound file; every test changes a copy."""
    folder = tmp_path_factory.mktemp("good")
    flue = Flue("sqlite:///:memory:", artifacts=str(folder / "store"))
    flue.boot()
    samples.insert(flue.engine, samples.small())
    snapshot.export(flue, folder / "good.snap")
    flue.close()
    return folder / "good.snap"


def header(**values: Any) -> Change:
    return lambda file: file.header.update(values)


def set_values(table: str, row: int, **values: Any) -> Change:
    return lambda file: file.set(table, row, **values)


def twice(table: str, row: int, **values: Any) -> Change:
    def change(file: SnapshotFile) -> None:
        file.rows[table].append(list(file.rows[table][row]))
        file.set(table, -1, **values)

    return change


def rename_column(table: str, old: str, new: str) -> Change:
    def change(file: SnapshotFile) -> None:
        columns = file.columns(table)
        columns[columns.index(old)] = new

    return change


def replace_line(table: str, line: bytes) -> Change:
    return lambda file: file.rows[table].__setitem__(0, line)  # type: ignore[call-overload]


def add_table(file: SnapshotFile) -> None:
    file.header["tables"].append({"name": "users", "columns": ["id"]})
    file.rows["users"] = [["1"]]


RUN, SUB, STREAM, BATCH, ART = (
    "flue_runs",
    "flue_agent_submissions",
    "flue_conversation_streams",
    "flue_conversation_stream_batches",
    "flue_artifacts",
)

WRONG: dict[str, tuple[Change, str]] = {
    "another format": (header(format="zip"), "not the header"),
    "newer version": (header(version=2), "version 2; this release reads version 1"),
    "version as text": (header(version="1"), "version"),
    "newer format version": (header(formatVersion=2), "format version 2"),
    "unknown revision": (header(schemaRevision="flue_9999"), "flue_9999"),
    "header with more": (header(more=1), "header"),
    "unknown table": (add_table, "users"),
    "unknown column": (rename_column(RUN, "payload", "password"), "password"),
    "column twice": (rename_column(RUN, "payload", "result"), "result"),
    "key column missing": (rename_column(RUN, "run_id", "x"), "'x'"),
    "duplicate key": (twice(RUN, -1), "row before"),
    "keys out of order": (lambda file: file.rows[RUN].reverse(), "not above"),
    "duplicate submission": (twice(SUB, 0, sequence=99), "same submission_id as row 1"),
    "duplicate producer sequence": (twice(BATCH, -1, seq=5), "same path, producer_id"),
    "duplicate event key": (twice("flue_event_stream_entries", -1, seq=7), "same path, event_key"),
    "duplicate storage key": (twice(ART, -1, id="zzz"), "same storage_key"),
    "batch without stream": (set_values(BATCH, 0, path="agents/a/i0"), "refers to a row of flue_conversation_streams"),
    "chunk without submission": (
        set_values("flue_submission_chunks", -1, submission_id="sub_z"),
        "refers to a row of flue_agent_submissions",
    ),
    "entry without session": (set_values("flue_session_entries", -1, session_id="ses_9"), "refers to a row of flue_sessions"),
    "event without stream": (set_values("flue_event_stream_entries", -1, path="runs/x"), "refers to a row of flue_event_streams"),
    "huge number": (set_values(SUB, 2, accepted_at=2**53), "from -9007199254740991 to"),
    "number of 5000 digits": (replace_line(SUB, b"[" + b"9" * 5000 + b"]\n"), "not JSON|not an array"),
    "float": (set_values(SUB, 0, accepted_at=1.5), "accepted_at is a float"),
    "boolean for a number": (set_values(SUB, 0, accepted_at=True), "accepted_at is a bool"),
    "number for text": (set_values(RUN, 0, workflow_name=7), "workflow_name is a int"),
    "null where none may be": (set_values(RUN, 0, workflow_name=None), "workflow_name is null"),
    "lone surrogate": (replace_line(RUN, b'["run_1","\\ud800","s","t",null,null,null,null,null,null,null,null]\n'), "surrogate"),
    "invalid UTF-8": (replace_line(RUN, b'["run_1","\xff","s","t",null,null,null,null,null,null,null,null]\n'), "not JSON"),
    "object for a row": (replace_line(RUN, b'{"run_id":"a"}\n'), "not an array"),
    "too few values": (replace_line(RUN, b'["a"]\n'), "not an array of 12"),
    "deep nesting": (replace_line(RUN, b"[" * 100_000 + b"\n"), "not JSON"),
    "not a number": (replace_line(RUN, b"[NaN]\n"), "not an array"),
    "no base64": (set_values("flue_attachments", 0, bytes="***"), "not base64"),
    "storage key outside": (set_values(ART, 0, storage_key="default/../../etc/passwd"), "not a storage key"),
    "absolute storage key": (set_values(ART, 0, storage_key="/etc/passwd"), "not a storage key"),
    "another tenant's storage key": (set_values(ART, 0, storage_key="other/art_9"), "not in the folder of its tenant"),
    "unannounced blobs": (lambda file: file.blobs.update({samples.sha256(b"abc"): b"abc"}), "no blobs"),
    "tables of a tenant": (header(tenant="default"), "knows no tenants"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_changes_nothing(flue: Flue, good: Path, tmp_path: Path, name: str) -> None:
    change, message = WRONG[name]
    file = SnapshotFile.read(good)
    change(file)
    file.write(tmp_path / "wrong.snap")
    samples.insert(flue.engine, {"flue_sessions": samples.small()["flue_sessions"]})
    before = samples.physical_rows(flue.engine)
    for mode in ("refuse", "replace", "merge"):
        with pytest.raises(SnapshotError, match=message) as caught:
            snapshot.load(flue, tmp_path / "wrong.snap", mode=mode)
        assert not isinstance(caught.value, SnapshotConflictError)
        assert caught.value.remedy
    assert samples.physical_rows(flue.engine) == before


def test_the_sound_file_is_accepted(flue: Flue, good: Path, tmp_path: Path) -> None:
    """What the other tests change is the only thing that is wrong with their files."""
    copy = SnapshotFile.read(good).write(tmp_path / "good.snap")
    assert snapshot.load(flue, copy).inserted == sum(map(len, samples.small().values()))


def test_an_older_file_may_lack_optional_columns(flue: Flue, good: Path, tmp_path: Path) -> None:
    file = SnapshotFile.read(good)
    place = file.columns("flue_sessions").index("leaf_id")
    for row in (file.columns("flue_sessions"), *file.rows["flue_sessions"]):
        del row[place]
    snapshot.load(flue, file.write(tmp_path / "older.snap"))
    with flue.engine.connect() as connection:
        assert set(connection.scalars(sa.text("SELECT leaf_id FROM flue_sessions"))) == {None}


# -- what the target cannot hold -----------------------------------------------------------------------------------------------------


@pytest.mark.databases("postgres")
def test_postgres_cannot_hold_nul(flue: Flue, good: Path, tmp_path: Path) -> None:
    _refused_by_target(flue, good, tmp_path, set_values(RUN, 1, payload="a\0b"), r"U\+0000")


@pytest.mark.databases("mariadb")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_values(RUN, 1, run_id="x" * 256), "run_id has 256 characters"),
        (set_values(RUN, 1, status="läuft"), "status holds characters that are not ASCII"),
        (set_values("flue_agent_turn_journals", 0, committed=128), "committed is 128"),
        (set_values(SUB, 0, sequence=-1), "sequence is -1"),
    ],
)
def test_mariadb_cannot_hold_what_is_too_long(flue: Flue, good: Path, tmp_path: Path, change: Change, message: str) -> None:
    _refused_by_target(flue, good, tmp_path, change, message)


@pytest.mark.databases("mariadb")
def test_mariadb_takes_no_statement_above_its_packet(flue: Flue, good: Path, tmp_path: Path) -> None:
    _refused_by_target(flue, good, tmp_path, set_values(RUN, 1, payload='"' * (9 << 20)), "max_allowed_packet")


@pytest.mark.databases("sqlite")
def test_sqlite_would_take_an_object_for_a_mark_of_chunk_rows(flue: Flue, good: Path, tmp_path: Path) -> None:
    _refused_by_target(flue, good, tmp_path, set_values(BATCH, 0, data='{"$flueChunkCount":3}'), "mark of chunk rows")


@pytest.mark.databases("postgres", "mariadb")
def test_integers_of_32_bits(flue: Flue, good: Path, tmp_path: Path) -> None:
    _refused_by_target(flue, good, tmp_path, set_values(SUB, 1, attempt_count=2**31), "attempt_count is 2147483648")


@pytest.mark.databases("mariadb")
@pytest.mark.parametrize(
    ("table", "column"),
    [
        (RUN, "run_id"),
        (RUN, "workflow_name"),
        (SUB, "owner_id"),
        (STREAM, "path"),
        (ART, "tenant"),
        (ART, "run_id"),
        ("flue_sessions", "id"),
        ("flue_event_streams", "path"),
        ("flue_agent_dispatch_receipts", "dispatch_id"),
    ],
)
def test_mariadb_would_not_tell_it_from_the_same_without_a_blank(flue: Flue, good: Path, tmp_path: Path, table: str, column: str) -> None:
    """Also one that stands alone: it would be found under another name, of a tenant by another tenant."""
    _refused_by_target(flue, good, tmp_path, lambda file: file.set(table, -1, **{column: "zzz "}), f"{column} ends with a blank")


@pytest.mark.databases("mariadb")
def test_mariadb_keeps_blanks_where_nobody_looks_for_them(flue: Flue, good: Path, tmp_path: Path) -> None:
    file = SnapshotFile.read(good)
    set_values(ART, 0, content_type="text/plain ", name="a ")(file)
    snapshot.load(flue, file.write(tmp_path / "blank.snap"))


@pytest.mark.databases("mariadb")
def test_a_stream_path_is_measured_as_the_contract_does(flue: Flue, good: Path, tmp_path: Path) -> None:
    path = f"agents/zzz/{'😀' * 130}"
    assert len(path) < 255
    _refused_by_target(flue, good, tmp_path, set_values(STREAM, -1, path=path), "path is longer than the 255 UTF-16 units")
    _refused_by_target(flue, good, tmp_path, set_values("flue_attachments", -1, stream_path=path), "stream_path is longer")
    file = SnapshotFile.read(good)
    set_values("flue_event_streams", -1, path=f"runs/zzz{'x' * 400}")(file)
    file.rows["flue_event_stream_entries"] = []
    snapshot.load(flue, file.write(tmp_path / "events.snap"))


@pytest.mark.databases("mariadb")
def test_a_tenant_that_mariadb_takes_for_another_does_not_replace_its_artifacts(flue: Flue, good: Path, tmp_path: Path) -> None:
    with Flue("sqlite:///:memory:", artifacts="memory://") as other:
        other.boot()
        snapshot.export(other, tmp_path / "empty.snap", tenant="default ")
    snapshot.load(flue, good)
    before = samples.physical_rows(flue.engine)
    for mode in ("refuse", "replace", "merge"):
        with pytest.raises(SnapshotError, match="tenant ends with a blank"):
            snapshot.load(flue, tmp_path / "empty.snap", mode=mode)
    assert samples.physical_rows(flue.engine) == before


def _refused_by_target(flue: Flue, good: Path, tmp_path: Path, change: Change, message: str) -> None:
    file = SnapshotFile.read(good)
    change(file)
    file.write(tmp_path / "large.snap")
    before = samples.physical_rows(flue.engine)
    with pytest.raises(SnapshotError, match=message) as caught:
        snapshot.load(flue, tmp_path / "large.snap")
    assert {"table", "row", "problem"} <= set(caught.value.meta)
    assert json.dumps(caught.value.meta)
    assert samples.physical_rows(flue.engine) == before


# -- the target itself -------------------------------------------------------------------------------------------------------------


def test_a_database_that_is_not_migrated_is_refused(database: Database, good: Path, tmp_path: Path) -> None:
    flue = Flue(database.url)
    with pytest.raises(SchemaVersionError):
        snapshot.load(flue, good)
    with pytest.raises(SchemaVersionError):
        snapshot.export(flue, tmp_path / "a.snap")
    flue.close()
    assert not (tmp_path / "a.snap").exists()


def test_live_leases_are_refused_in_every_mode(flue: Flue, good: Path) -> None:
    now = flue.clock.now()
    row = {**samples.sample()["flue_agent_submissions"][0], "status": "running", "lease_expires_at": now + 60_000, "owner_id": "w"}
    samples.insert(flue.engine, {"flue_agent_submissions": [row]})
    for mode in ("refuse", "replace", "merge"):
        with pytest.raises(SnapshotConflictError, match="A worker is alive"):
            snapshot.load(flue, good, mode=mode)
    with flue.engine.begin() as connection:
        connection.execute(sa.text("UPDATE flue_agent_submissions SET lease_expires_at = :past"), {"past": now - 1})
    assert snapshot.load(flue, good, mode="replace").deleted == 1


def test_an_unknown_mode_and_an_async_flue_are_refused(flue: Flue, good: Path) -> None:
    from flue_sqla.errors import ConfigurationError, InvalidInputError

    with pytest.raises(InvalidInputError, match="unknown"):
        snapshot.load(flue, good, mode="overwrite")
    with pytest.raises(ConfigurationError, match="needs a Flue"):
        snapshot.load(object(), good)  # type: ignore[arg-type]
