"""``flue-sqla snapshot``: the same for operators, with documents for programs."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from flue_sqla import Flue
from flue_sqla.cli.main import run
from tests.databases.contract import Database
from tests.snapshot import samples


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, Any]:
    code = run([*arguments, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, json.loads(err) if err else None


def test_export_inspect_import(migrated: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flue = Flue(migrated.url)
    samples.insert(flue.engine, samples.small())
    flue.close()
    total = sum(map(len, samples.small().values()))
    path = str(tmp_path / "a.snap")
    code, exported, _ = call(capsys, "snapshot", "export", path, "--url", migrated.url)
    assert (code, exported["rows"], exported["tenant"], exported["blobs"]["included"]) == (0, total, None, False)
    code, inspected, _ = call(capsys, "snapshot", "inspect", path)
    assert inspected == exported
    code, _, failure = call(capsys, "snapshot", "import", path, "--url", migrated.url)
    assert (code, failure["error"]["code"]) == (1, "snapshot_conflict")
    code, told, _ = call(capsys, "snapshot", "import", path, "--mode", "merge", "--dry-run", "--url", migrated.url)
    assert (code, told["skipped"], told["dryRun"]) == (0, total, True)
    code, done, _ = call(capsys, "snapshot", "import", path, "--mode", "replace", "--url", migrated.url)
    assert (code, done["inserted"], done["deleted"]) == (0, total, total)


def test_text_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    assert run(["upgrade", "--url", url]) == 0
    assert run(["snapshot", "export", str(tmp_path / "a.snap"), "--url", url]) == 0
    assert run(["snapshot", "import", str(tmp_path / "a.snap"), "--url", url]) == 0
    out = capsys.readouterr().out
    assert "0 rows of schema flue_" in out
    assert "Done: 0 rows inserted" in out


def test_a_damaged_file_and_a_foreign_schema_have_their_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.snap").write_bytes(b"nothing of the kind")
    code, _, failure = call(capsys, "snapshot", "inspect", str(tmp_path / "bad.snap"))
    assert (code, failure["error"]["code"]) == (1, "snapshot_invalid")
    assert "not an undamaged snapshot" in failure["error"]["message"], "a file of another kind is not called a truncated one"
    code, _, failure = call(capsys, "snapshot", "export", str(tmp_path / "x.snap"), "--url", f"sqlite:///{tmp_path / 'new.db'}")
    assert (code, failure["error"]["code"]) == (4, "schema_version_unsupported")


def test_a_file_that_is_there_is_replaced_only_by_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url, target = f"sqlite:///{tmp_path / 'a.db'}", tmp_path / "a.snap"
    assert run(["upgrade", "--url", url]) == 0
    capsys.readouterr()
    target.write_text("precious")
    code, _, failure = call(capsys, "snapshot", "export", str(target), "--url", url)
    assert (code, failure["error"]["code"]) == (2, "configuration_invalid")
    assert "--force" in failure["error"]["remedy"]
    assert target.read_text() == "precious"
    assert call(capsys, "snapshot", "export", str(target), "--url", url, "--force")[0] == 0
    assert call(capsys, "snapshot", "inspect", str(target))[0] == 0


@pytest.mark.parametrize("way", ["missing", "file", "full"])
def test_a_file_that_cannot_be_written_is_said_as_of_artifacts(
    way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    assert run(["upgrade", "--url", url]) == 0
    capsys.readouterr()
    (tmp_path / "file").write_text("")
    target = tmp_path / way / "a.snap"
    if way == "full":
        target.parent.mkdir()

        def refuse(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("os.fsync", refuse)
    else:
        monkeypatch.setattr("flue_sqla.cli.base.Invocation.flue", None)  # noticed before anything is asked for it
    code, _, failure = call(capsys, "snapshot", "export", str(target), "--url", url)
    assert (code, failure["error"]["code"]) == (2, "configuration_invalid")
    assert failure["error"]["message"].startswith(f"The file {str(target)!r} cannot be written: ")
    assert "a folder that exists" in failure["error"]["remedy"]
    assert not target.exists()


@pytest.mark.parametrize("name", [".", "-", "", "folder/"])
def test_an_export_goes_into_a_file(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["upgrade", "--url", "sqlite:///a.db"]) == 0
    capsys.readouterr()
    code, _, failure = call(capsys, "snapshot", "export", name, "--url", "sqlite:///a.db")
    assert code == 2
    assert failure["error"]["code"] in ("usage", "configuration_invalid")
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("a.db")] == []


@pytest.mark.parametrize("command", ["inspect", "import"])
def test_a_file_that_is_not_there_is_wrong_usage(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, failure = call(capsys, "snapshot", command, str(tmp_path / "none.snap"), "--url", f"sqlite:///{tmp_path / 'a.db'}")
    assert (code, failure["error"]["code"]) == (2, "usage")
