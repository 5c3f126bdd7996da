"""The file: what anybody can read of it, and what the reader refuses."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flue_sqla import Flue, snapshot
from flue_sqla.errors import FlueError, SnapshotError
from flue_sqla.snapshot.container import member_header
from flue_sqla.snapshot.layout import chunk_layout
from tests.snapshot import samples
from tests.snapshot.files import SnapshotFile


@pytest.fixture
def taken(memory_flue: Flue, tmp_path: Path) -> Path:
    samples.insert(memory_flue.engine, samples.small())
    snapshot.export(memory_flue, tmp_path / "a.snap")
    return tmp_path / "a.snap"


def test_any_tar_lists_it_and_any_json_reader_reads_it(taken: Path) -> None:
    with tarfile.open(taken) as archive:
        names = archive.getnames()
    assert names[0] == "header.json"
    assert names[-1] == "trailer.json"
    file = SnapshotFile.read(taken)
    assert file.header["version"] == 1
    assert {name: len(rows) for name, rows in file.rows.items()} == {name: len(rows) for name, rows in samples.small().items()}
    row = dict(zip(file.columns("flue_runs"), file.rows["flue_runs"][1], strict=True))
    assert row["is_error"] is False
    assert row["duration_ms"] == 1000


def test_taken_apart_and_put_together_it_is_the_same(taken: Path, tmp_path: Path) -> None:
    assert SnapshotFile.read(taken).write(tmp_path / "b.snap").read_bytes() == taken.read_bytes()


def test_it_is_for_its_owner_only_and_has_no_trace_of_where_it_was_made(taken: Path) -> None:
    assert stat.S_IMODE(taken.stat().st_mode) == 0o600
    data = taken.read_bytes()
    for trace in (b"sqlite", str(taken.parent).encode(), os.uname().nodename.encode() * 1):
        assert trace not in data


def test_an_export_that_fails_leaves_the_old_file_and_nothing_else(memory_flue: Flue, tmp_path: Path) -> None:
    target = tmp_path / "out" / "a.snap"
    target.parent.mkdir()
    target.write_bytes(b"older")
    samples.insert(memory_flue.engine, {"flue_artifacts": samples.sample()["flue_artifacts"]})
    with pytest.raises(FlueError):
        snapshot.export(memory_flue, target, blobs=True)  # the bytes are not there
    assert target.read_bytes() == b"older"
    assert os.listdir(target.parent) == ["a.snap"]


def test_a_file_that_cannot_be_written_is_a_clear_error(memory_flue: Flue, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="cannot be written: No such file or directory"):
        snapshot.export(memory_flue, tmp_path / "missing" / "a.snap")
    with pytest.raises(SnapshotError, match="cannot be read: No such file or directory"):
        snapshot.inspect(tmp_path / "missing.snap")


def test_inspect_needs_no_database(taken: Path) -> None:
    info = snapshot.inspect(taken)
    assert info.rows == sum(map(len, samples.small().values()))
    assert info.schema_revision == json.loads(json.dumps(info.to_wire()))["schemaRevision"]
    assert info.file_bytes == taken.stat().st_size


def test_every_truncation_is_found(taken: Path, tmp_path: Path) -> None:
    data = taken.read_bytes()
    for size in [*range(0, 5000, 97), len(data) // 2, *range(len(data) - 3000, len(data), 101), len(data) - 1]:
        (tmp_path / "cut.snap").write_bytes(data[:size])
        with pytest.raises(SnapshotError):
            snapshot.inspect(tmp_path / "cut.snap")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 0.999999), flip=st.integers(1, 255))
def test_every_changed_byte_is_found(taken: Path, tmp_path: Path, place: float, flip: int) -> None:
    data = bytearray(taken.read_bytes())
    data[int(place * len(data))] ^= flip
    (tmp_path / "changed.snap").write_bytes(data)
    with pytest.raises(SnapshotError):
        snapshot.inspect(tmp_path / "changed.snap")


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: data[:-200] + bytes(byte ^ 255 for byte in data[-200:]), lambda data: data + data]
)
def test_damage_to_a_compressed_file_is_found(taken: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    (tmp_path / "a.snap.gz").write_bytes(damage(gzip.compress(taken.read_bytes())))
    with pytest.raises(SnapshotError):
        snapshot.inspect(tmp_path / "a.snap.gz")


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "tables/../x", "tables/flue_runs/1.jsonl", "blobs/../../x", "readme.txt", "a" * 100]
)
def test_members_that_a_snapshot_does_not_have_are_refused(taken: Path, tmp_path: Path, name: str) -> None:
    data = taken.read_bytes()
    first = 512 + 512 * -(-tarfile_size(data) // 512)
    (tmp_path / "b.snap").write_bytes(data[:first] + member_header(name, 1) + b"x".ljust(512, b"\0") + data[first:])
    with pytest.raises(SnapshotError):
        snapshot.inspect(tmp_path / "b.snap")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.XHDTYPE])
def test_links_devices_and_extensions_are_refused(taken: Path, tmp_path: Path, kind: bytes) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo("header.json")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    (tmp_path / "b.snap").write_bytes(out.getvalue() + taken.read_bytes())
    with pytest.raises(SnapshotError):
        snapshot.inspect(tmp_path / "b.snap")


def test_something_else_is_no_snapshot(tmp_path: Path) -> None:
    for data in (b"", b"SQLite format 3\0" * 100, b"\x1f\x8b\x08", b"\0" * 2048, gzip.compress(b"x" * 9999)):
        (tmp_path / "other").write_bytes(data)
        with pytest.raises(SnapshotError):
            snapshot.inspect(tmp_path / "other")


def test_a_size_that_is_only_claimed_allocates_nothing(tmp_path: Path) -> None:
    (tmp_path / "b.snap").write_bytes(member_header("header.json", 1 << 60) + b"{}")
    with pytest.raises(SnapshotError):
        snapshot.inspect(tmp_path / "b.snap")


def test_sizes_beyond_eight_gibibytes_have_a_form_that_tar_knows() -> None:
    header = member_header("blobs/x", 9 << 30)
    assert tarfile.TarInfo.frombuf(header, "ascii", "strict").size == 9 << 30


@settings(max_examples=25, deadline=None)
@given(units=st.integers(1_048_570, 1_048_590), pairs=st.integers(0, 3))
def test_long_texts_are_cut_as_the_contract_says(units: int, pairs: int) -> None:
    text = "🤖" * pairs + "a" * (units - 2 * pairs - 2) + "🤖"
    layout = chunk_layout("flue_conversation_stream_batches")
    assert layout is not None
    parents, pieces = layout.split(("path", "seq", "data"), [("p", 0, text)])
    parts = [piece[-1] for piece in pieces.rows]
    if units <= 1_048_576:
        assert (parents.rows, parts) == ([("p", 0, text)], [])
    else:
        assert parts == samples.text_parts(text)
        assert parents.rows == [("p", 0, f'{{"$flueChunkCount":{len(parts)}}}')]


def tarfile_size(data: bytes) -> int:
    return int(data[124:135], 8)
