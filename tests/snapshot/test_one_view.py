"""What happens while others write: an export sees one moment, an import keeps everybody out."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from flue_sqla import Flue, snapshot
from flue_sqla.errors import MigrationLockTimeout, OutcomeUnknown
from flue_sqla.settings import FlueSettings
from flue_sqla.snapshot import exporting
from flue_sqla.snapshot.catalogue import TABLES
from tests.databases.contract import Database
from tests.snapshot import samples
from tests.snapshot.files import SnapshotFile

ENTRY = sa.text("INSERT INTO flue_event_stream_entries (path, seq, data) VALUES ('runs/x', :seq, '{}')")
HEAD = sa.text("UPDATE flue_event_streams SET next_offset = :next WHERE path = 'runs/x'")


@pytest.mark.parametrize("round_", range(3))
def test_concurrent_writers_never_tear_an_export(flue: Flue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, round_: int) -> None:
    """A writer commits a head and its entries together, between any two tables of the export."""
    samples.insert(flue.engine, {"flue_event_streams": [{"path": "runs/x", "next_offset": 0, "closed": False}]})
    counter = itertools.count()

    def write() -> None:
        seq = next(counter)
        with flue.engine.begin() as connection:
            connection.execute(ENTRY, {"seq": seq})
            connection.execute(HEAD, {"next": seq + 1})

    for _ in range(round_):
        write()
    original = exporting._lines

    def interrupted(*arguments: object) -> object:
        # Before and after every table, from another connection, while the export's transaction is open.
        _in_thread(write)
        yield from original(*arguments)  # type: ignore[arg-type]
        _in_thread(write)

    monkeypatch.setattr(exporting, "_lines", interrupted)
    snapshot.export(flue, tmp_path / "a.snap")
    file = SnapshotFile.read(tmp_path / "a.snap")
    (head,) = file.rows["flue_event_streams"]
    entries = file.rows["flue_event_stream_entries"]
    assert [entry[1] for entry in entries] == list(range(head[1]))
    with flue.engine.connect() as connection:
        # All that time the writers were not held up.
        assert connection.scalar(sa.text("SELECT count(*) FROM flue_event_stream_entries")) == round_ + 2 * len(TABLES)


@pytest.mark.databases("sqlite")
def test_a_host_engine_that_begins_no_transaction_before_a_read(
    migrated: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = sa.create_engine(migrated.url)
    flue = Flue(engine=engine)
    test_concurrent_writers_never_tear_an_export(flue, tmp_path, monkeypatch, 2)
    samples.insert(engine, {"flue_runs": samples.small()["flue_runs"]})
    snapshot.export(flue, tmp_path / "b.snap")
    assert snapshot.load(flue, tmp_path / "b.snap", mode="replace").inserted == snapshot.inspect(tmp_path / "b.snap").rows
    engine.dispose()


@pytest.mark.databases("postgres")
def test_a_connection_that_breaks_at_the_commit_is_an_unknown_outcome(migrated: Database, tmp_path: Path) -> None:
    flue = Flue(migrated.url)
    snapshot.export(flue, tmp_path / "a.snap")

    def terminate(connection: sa.Connection) -> None:
        migrated.admin_execute(f"SELECT pg_terminate_backend({connection.connection.driver_connection.info.backend_pid}, 5000)")

    sa.event.listen(flue.engine, "commit", terminate)
    with pytest.raises(OutcomeUnknown, match="broke at the commit"):
        snapshot.load(flue, tmp_path / "a.snap")
    sa.event.remove(flue.engine, "commit", terminate)
    assert snapshot.load(flue, tmp_path / "a.snap").inserted == 0
    flue.close()


def _in_thread(work: object) -> None:
    thread = threading.Thread(target=work)  # type: ignore[arg-type]
    thread.start()
    thread.join()


@pytest.mark.databases("postgres")
def test_an_import_waits_for_nobody_for_ever(migrated: Database, tmp_path: Path) -> None:
    """An open transaction that wrote one of the tables: a typed error after the configured time, and nothing changed."""
    flue = Flue(migrated.url, settings=FlueSettings(lock_timeout_ms=300))
    snapshot.export(flue, tmp_path / "a.snap")
    other = sa.create_engine(migrated.url)
    with other.connect() as connection:
        connection.execute(sa.text("INSERT INTO flue_agent_session_deletions VALUES ('k', 1)"))
        with pytest.raises(MigrationLockTimeout):
            snapshot.load(flue, tmp_path / "a.snap")
    assert snapshot.load(flue, tmp_path / "a.snap").inserted == 0
    other.dispose()
    flue.close()


def test_an_import_holds_the_boot_lock_and_the_tables(
    flue: Flue, migrated: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While rows are being loaded nobody writes a table, not even one that is empty, and nobody migrates."""
    from flue_sqla.snapshot.loading import TableLoader

    samples.insert(flue.engine, samples.small())
    snapshot.export(flue, tmp_path / "a.snap")
    attempts: list[str] = []
    blocked = Flue(migrated.url, settings=FlueSettings(lock_timeout_ms=200))
    original = TableLoader.load

    def load(self: TableLoader, segment: object) -> None:
        original(self, segment)  # type: ignore[arg-type]
        if not attempts:
            attempts.append("tried")
            try:
                snapshot.load(blocked, tmp_path / "a.snap", mode="replace")
                attempts.append("came through")
            except MigrationLockTimeout:
                attempts.append("kept out")

    monkeypatch.setattr(TableLoader, "load", load)
    snapshot.load(flue, tmp_path / "a.snap", mode="replace")
    blocked.close()
    assert attempts == ["tried", "kept out"]
