"""refuse, replace, merge, and what each of them says beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla import Flue, snapshot
from flue_sqla.errors import SnapshotConflictError
from tests.databases.contract import Database
from tests.snapshot import samples

SUBMISSIONS = "flue_agent_submissions"
TOTAL = sum(map(len, samples.small().values()))


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    return export_of(samples.small(), tmp_path / "taken.snap")


def export_of(rows: dict[str, list[dict[str, Any]]], path: Path) -> Path:
    flue = Flue("sqlite:///:memory:")
    flue.boot()
    samples.insert(flue.engine, rows)
    snapshot.export(flue, path)
    flue.close()
    return path


def submission(sequence: int, name: str, session: str = "s", status: str = "settled", **more: Any) -> dict[str, Any]:
    return {
        **samples.small()[SUBMISSIONS][0],
        "sequence": sequence,
        "submission_id": name,
        "session_key": session,
        "status": status,
        **more,
    }


def stored(flue: Flue) -> list[tuple[int, str]]:
    with flue.engine.connect() as connection:
        rows = connection.execute(sa.text(f"SELECT sequence, submission_id FROM {SUBMISSIONS} ORDER BY sequence"))
        return [(row[0], row[1]) for row in rows]


def test_refuse_takes_an_empty_database_only(flue: Flue, taken: Path) -> None:
    assert snapshot.load(flue, taken).inserted == TOTAL
    before = samples.physical_rows(flue.engine)
    with pytest.raises(SnapshotConflictError, match="not empty") as caught:
        snapshot.load(flue, taken)
    assert SUBMISSIONS in caught.value.meta["tables"]
    assert samples.physical_rows(flue.engine) == before


def test_replace_leaves_nothing_of_what_was_there(flue: Flue, taken: Path, tmp_path: Path) -> None:
    rows = samples.sample()
    rows["flue_runs"][0]["run_id"] = "only here"
    samples.insert(flue.engine, rows)
    report = snapshot.load(flue, taken, mode="replace")
    assert report.deleted == sum(map(len, rows.values()))
    snapshot.export(flue, tmp_path / "after.snap")
    assert (tmp_path / "after.snap").read_bytes() == taken.read_bytes()


def test_merge_skips_what_is_identical(flue: Flue, taken: Path) -> None:
    snapshot.load(flue, taken)
    before = samples.physical_rows(flue.engine)
    report = snapshot.load(flue, taken, mode="merge")
    assert (report.inserted, report.skipped) == (0, TOTAL)
    assert samples.physical_rows(flue.engine) == before


def test_merge_compares_what_is_cut_into_chunks_as_a_whole(flue: Flue, tmp_path: Path) -> None:
    path = export_of(samples.sample(), tmp_path / "long.snap")
    snapshot.load(flue, path)
    assert snapshot.load(flue, path, mode="merge").inserted == 0


def test_merge_adds_what_is_missing(flue: Flue, taken: Path) -> None:
    rows = samples.small()
    samples.insert(flue.engine, {name: table[:1] for name, table in rows.items() if name not in ("flue_submission_chunks",)})
    report = snapshot.load(flue, taken, mode="merge")
    assert report.inserted + report.skipped == TOTAL
    assert report.tables["flue_runs"].inserted == 1
    assert report.tables["flue_runs"].skipped == 1


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("flue_runs", {"result": '"other"'}),
        ("flue_attachments", {"bytes": b"\0\xfe"}),
        ("flue_conversation_stream_batches", {"data": "[1]"}),
        (SUBMISSIONS, {"attempt_count": 7}),
        ("flue_event_streams", {"closed": False}),
    ],
)
def test_merge_refuses_what_differs_and_names_it(flue: Flue, taken: Path, table: str, change: dict[str, Any]) -> None:
    rows = samples.small()
    index = next(index for index, row in enumerate(rows[table]) if {**row, **change} != row and row.get("attachment_id") != "att_empty")
    rows[table] = [{**rows[table][index], **change}]
    samples.insert(flue.engine, {table: rows[table]})
    before = samples.physical_rows(flue.engine)
    with pytest.raises(SnapshotConflictError, match="differs from the one that is there") as caught:
        snapshot.load(flue, taken, mode="merge")
    assert caught.value.meta["table"] == table
    assert caught.value.meta["columns"] == list(change)
    assert set(caught.value.meta["key"].values()) <= {str(value) for value in rows[table][0].values()}
    assert samples.physical_rows(flue.engine) == before


def test_merged_submissions_come_after_those_that_are_there_in_their_old_order(flue: Flue, tmp_path: Path) -> None:
    theirs = [submission(3, "c"), submission(7, "a"), submission(8, "b")]
    path = export_of({SUBMISSIONS: theirs}, tmp_path / "theirs.snap")
    samples.insert(flue.engine, {SUBMISSIONS: [submission(5, "mine"), submission(8, "a")]})
    report = snapshot.load(flue, path, mode="merge")
    assert (report.inserted, report.skipped) == (2, 1)
    assert [name for _, name in stored(flue)] == ["mine", "a", "c", "b"]
    assert [sequence for sequence, _ in stored(flue)][:2] == [5, 8]


def test_a_session_unsettled_on_both_sides_is_not_merged(flue: Flue, tmp_path: Path) -> None:
    path = export_of({SUBMISSIONS: [submission(1, "theirs", "both", "queued")]}, tmp_path / "theirs.snap")
    samples.insert(flue.engine, {SUBMISSIONS: [submission(1, "mine", "both", "queued")]})
    with pytest.raises(SnapshotConflictError, match="unsettled work on both sides") as caught:
        snapshot.load(flue, path, mode="merge")
    assert caught.value.meta["sessionKey"] == "both"
    assert stored(flue) == [(1, "mine")]


def test_many_unsettled_submissions_of_one_free_session_are_merged(flue: Flue, tmp_path: Path) -> None:
    theirs = [submission(number, f"t{number:04d}", "theirs", "queued") for number in range(1, 501)]
    path = export_of({SUBMISSIONS: theirs}, tmp_path / "theirs.snap")
    samples.insert(flue.engine, {SUBMISSIONS: [submission(1, "mine", "mine", "queued")]})
    assert snapshot.load(flue, path, mode="merge").inserted == 500
    assert [name for _, name in stored(flue)][1:] == [row["submission_id"] for row in theirs]


@pytest.mark.parametrize("mode", ["refuse", "replace", "merge"])
def test_a_dry_run_says_what_would_happen_and_changes_nothing(flue: Flue, taken: Path, mode: str) -> None:
    if mode != "refuse":
        samples.insert(flue.engine, {"flue_runs": samples.small()["flue_runs"][:1]})
    before = samples.physical_rows(flue.engine)
    told = snapshot.load(flue, taken, mode=mode, dry_run=True)
    assert samples.physical_rows(flue.engine) == before
    done = snapshot.load(flue, taken, mode=mode)
    assert {**told.to_wire(), "dryRun": False} == done.to_wire()


def test_the_snapshot_of_one_tenant_touches_no_other(flue: Flue, tmp_path: Path) -> None:
    rows = samples.small()
    samples.insert(flue.engine, rows)
    info = snapshot.export(flue, tmp_path / "tenant.snap", tenant="tenant b")
    assert info.tenant == "tenant b"
    assert {name: table.rows for name, table in info.tables.items()} == {"flue_artifacts": 1}
    assert set(info.excluded) >= {"flue_runs", SUBMISSIONS}
    assert b"default/art_1" not in (tmp_path / "tenant.snap").read_bytes()
    with pytest.raises(SnapshotConflictError, match="flue_artifacts has rows"):
        snapshot.load(flue, tmp_path / "tenant.snap")
    before = samples.physical_rows(flue.engine)
    report = snapshot.load(flue, tmp_path / "tenant.snap", mode="replace")
    assert (report.deleted, report.inserted) == (1, 1)
    assert samples.physical_rows(flue.engine) == before


@pytest.mark.databases("postgres")
def test_a_schema_with_a_strange_name(database: Database, tmp_path: Path) -> None:
    schema = 'Agents "of" 100%s'
    flue = Flue(database.url, schema=schema)
    flue.boot()
    samples.insert_elsewhere(flue, schema)
    snapshot.export(flue, tmp_path / "a.snap", tenant=None)
    assert snapshot.load(flue, tmp_path / "a.snap", mode="merge").inserted == 0
    assert snapshot.load(flue, tmp_path / "a.snap", mode="replace").inserted == TOTAL
    snapshot.export(flue, tmp_path / "b.snap")
    assert (tmp_path / "a.snap").read_bytes() == (tmp_path / "b.snap").read_bytes()
    flue.close()
