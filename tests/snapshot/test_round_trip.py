"""One snapshot goes through every database and comes back as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from flue_sqla import Flue, snapshot
from tests.databases.contract import Database
from tests.databases.servers import Servers, enabled
from tests.snapshot import samples

Open = Callable[[str], Flue]


@pytest.fixture
def open_fresh(servers: Servers, tmp_path: Path) -> Iterator[Open]:
    """A booted Flue on a fresh database of the named kind."""
    opened: list[tuple[Flue, Database]] = []

    def fresh(name: str) -> Flue:
        if name not in enabled():
            pytest.skip(f"{name} is not enabled by FLUE_TEST_DATABASES")
        database = servers.create_database(name, migrated=True)
        flue = Flue(database.url, artifacts=str(tmp_path / "store"))
        opened.append((flue, database))
        return flue

    yield fresh
    for flue, database in reversed(opened):
        flue.close()
        database.remove()


@pytest.mark.slow
def test_sqlite_to_postgres_to_mariadb_to_sqlite(open_fresh: Open, tmp_path: Path) -> None:
    first = open_fresh("sqlite")
    samples.insert(first.engine, samples.sample())
    taken = tmp_path / "0.snap"
    snapshot.export(first, taken)
    for step, name in enumerate(("postgres", "mariadb", "sqlite"), start=1):
        target = open_fresh(name)
        report = snapshot.load(target, taken)
        assert report.inserted == sum(map(len, samples.sample().values()))
        again = tmp_path / f"{step}.snap"
        snapshot.export(target, again)
        assert again.read_bytes() == taken.read_bytes()
        taken = again
    assert samples.physical_rows(target.engine) == samples.physical_rows(first.engine)


def test_every_value_survives_where_it_was_written(flue: Flue, tmp_path: Path) -> None:
    samples.insert(flue.engine, samples.sample())
    before = samples.physical_rows(flue.engine)
    snapshot.export(flue, tmp_path / "a.snap")
    snapshot.load(flue, tmp_path / "a.snap", mode="replace")
    assert samples.physical_rows(flue.engine) == before


def test_two_exports_of_one_state_are_equal(flue: Flue, tmp_path: Path) -> None:
    samples.insert(flue.engine, samples.sample())
    for name in ("a.snap", "b.snap", "a.snap.gz", "b.snap.gz"):
        snapshot.export(flue, tmp_path / name)
    assert (tmp_path / "a.snap").read_bytes() == (tmp_path / "b.snap").read_bytes()
    assert (tmp_path / "a.snap.gz").read_bytes() == (tmp_path / "b.snap.gz").read_bytes()
    assert (tmp_path / "a.snap.gz").stat().st_size < (tmp_path / "a.snap").stat().st_size / 10


def test_a_compressed_file_is_read_like_any_other(flue: Flue, tmp_path: Path) -> None:
    samples.insert(flue.engine, samples.sample())
    plain, packed = snapshot.export(flue, tmp_path / "a.snap"), snapshot.export(flue, tmp_path / "a.snap.gz")
    assert snapshot.inspect(tmp_path / "a.snap.gz").sha256 == plain.sha256 == packed.sha256
    assert snapshot.load(flue, tmp_path / "a.snap.gz", mode="replace").inserted == plain.rows


def test_the_admission_order_goes_on_after_the_last_imported_sequence(flue: Flue, tmp_path: Path) -> None:
    samples.insert(flue.engine, samples.sample())
    snapshot.export(flue, tmp_path / "a.snap")
    snapshot.load(flue, tmp_path / "a.snap", mode="replace")
    assert _sequences(flue) == [3, 5, 9]
    _admit_one(flue)
    assert _sequences(flue)[-1] > 9


def test_a_replaced_database_never_gives_a_sequence_again(flue: Flue, tmp_path: Path) -> None:
    """Numbers that were given before the import must not come back, although their rows are gone."""
    empty = tmp_path / "empty.snap"
    snapshot.export(flue, empty)
    for _ in range(4):
        _admit_one(flue)
    last = _sequences(flue)[-1]
    snapshot.load(flue, empty, mode="replace")
    assert _sequences(flue) == []
    _admit_one(flue)
    assert _sequences(flue)[0] > last


def test_keys_are_ordered_by_their_bytes(database_name: str, open_fresh: Open, tmp_path: Path) -> None:
    _assert_bytewise(open_fresh(database_name), tmp_path)


@pytest.mark.databases("postgres")
def test_keys_are_ordered_by_their_bytes_under_any_collation(icu_migrated: Database, tmp_path: Path) -> None:
    flue = Flue(icu_migrated.url)
    _assert_bytewise(flue, tmp_path)
    flue.close()


def _assert_bytewise(flue: Flue, tmp_path: Path) -> None:
    long = "ö" * 511
    ids = [
        "a",
        "a\t",
        "a-",
        "aa",
        "B",
        "b",
        "Z",
        "_",
        "ä",
        "é",
        "ß",
        "ﬀ",
        "😀",
        "￿",
        "A",
        "10",
        "9",
        "a.b",
        "a_b",
        long,
        long + "a",
        long + "b",
    ]
    rows = [{"id": name, "data": "{}", "leaf_id": None, "entry_count": None, "prefix_digest": None} for name in ids]
    samples.insert(flue.engine, {"flue_sessions": rows})
    snapshot.export(flue, tmp_path / "a.snap")
    text = (tmp_path / "a.snap").read_bytes()
    places = [text.index(f'["{name}",'.replace("\t", "\\t").encode()) for name in sorted(ids, key=str.encode)]
    assert places == sorted(places)


def _sequences(flue: Flue) -> list[int]:
    with flue.engine.connect() as connection:
        return list(connection.scalars(sa.text("SELECT sequence FROM flue_agent_submissions ORDER BY sequence")))


def _admit_one(flue: Flue) -> None:
    with flue.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO flue_agent_submissions (submission_id, session_key, kind, payload, status, accepted_at)"
                " VALUES (:id, 'k', 'direct', '{}', 'settled', 1)"
            ),
            {"id": f"new{len(_sequences_in(connection))}"},
        )


def _sequences_in(connection: sa.Connection) -> list[int]:
    return list(connection.scalars(sa.text("SELECT sequence FROM flue_agent_submissions")))
