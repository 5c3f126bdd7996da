"""``flue-sqla artifacts``: what a user types and sees."""

from __future__ import annotations

import io
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from flue_sqla.artifacts.keys import storage_key
from flue_sqla.cli.main import run
from flue_sqla.wire import new_id

pytestmark = pytest.mark.databases("sqlite")


@pytest.fixture
def environment(migrated: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A migrated database and an artifact folder, as the environment names them."""
    monkeypatch.setenv("DATABASE_URL", migrated.url)
    monkeypatch.setenv("FLUE_ARTIFACTS", str(tmp_path / "store"))
    return tmp_path


@pytest.fixture
def told(environment: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command and return its exit code and its JSON."""

    def call(*arguments: str) -> tuple[int, Any]:
        code = run(["artifacts", *arguments, "--json"])
        printed = capsys.readouterr()
        text = printed.out or printed.err
        return code, json.loads(text) if text else None

    return call


def put(told: Any, path: Path, data: bytes, *more: str) -> Any:
    path.write_bytes(data)
    code, artifact = told("put", str(path), *more)
    assert code == 0
    return artifact


def test_what_is_put_can_be_fetched_and_listed(told: Any, environment: Path) -> None:
    data = os.urandom(3_000_000)
    path = environment / "report.bin"
    artifact = put(told, path, data, "--content-type", "text/plain", "--run-id", "run_1", "--metadata", '{"a": 1}', "--tenant", "t")
    assert artifact["name"] == "report.bin"
    assert artifact["size"] == len(data)
    assert artifact["metadata"] == {"a": 1}
    target = environment / "fetched"
    code, written = told("get", artifact["id"], str(target), "--tenant", "t")
    assert (code, written["size"]) == (0, len(data))
    assert target.read_bytes() == data
    assert sorted(found.name for found in environment.iterdir()) == ["fetched", "report.bin", "store"]
    assert told("list", "--tenant", "t")[1]["artifacts"][0]["id"] == artifact["id"]
    assert told("list")[1] == {"artifacts": []}


def test_a_file_that_exists_is_kept_unless_forced(told: Any, environment: Path) -> None:
    artifact, target = put(told, environment / "source", b"new"), environment / "mine"
    target.write_bytes(b"old")
    code, refusal = told("get", artifact["id"], str(target))
    assert (code, refusal["error"]["code"]) == (2, "configuration_invalid")
    assert "--force" in refusal["error"]["remedy"]
    assert target.read_bytes() == b"old"
    assert told("get", "art_none", str(target))[0] == 2, "nothing was looked for in vain"
    (environment / "link").symlink_to("nowhere")
    assert told("get", artifact["id"], str(environment / "link"))[0] == 2
    assert told("get", artifact["id"], str(target), "--force")[0] == 0
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_file_that_appears_meanwhile_is_kept_too(told: Any, environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact, target = put(told, environment / "source", b"new"), environment / "mine"

    def copy(source: Any, file: Any, length: int) -> None:
        file.write(source.read())
        target.write_bytes(b"of somebody else")

    monkeypatch.setattr("shutil.copyfileobj", copy)
    assert told("get", artifact["id"], str(target))[1]["error"]["message"] == f"The file {str(target)!r} exists."
    assert target.read_bytes() == b"of somebody else"
    assert sorted(found.name for found in environment.iterdir()) == ["mine", "source", "store"]


def test_a_filesystem_without_second_names(told: Any, environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = put(told, environment / "source", b"new")

    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    assert told("get", artifact["id"], str(environment / "fetched"))[0] == 0
    assert (environment / "fetched").read_bytes() == b"new"


def test_a_target_that_cannot_be_written_is_said_to_be(told: Any, environment: Path) -> None:
    artifact = put(told, environment / "source", b"new")
    for folder, why in {"missing": "No such file or directory", "source": "Not a directory"}.items():
        for artifact_id in (artifact["id"], "art_none"):
            code, refusal = told("get", artifact_id, str(environment / folder / "fetched"))
            assert (code, refusal["error"]["code"]) == (2, "configuration_invalid"), "before anything was looked for"
            assert why in refusal["error"]["message"]


@pytest.mark.parametrize("name", ["", "folder/"])
def test_a_target_without_a_name_is_none(told: Any, environment: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(environment)
    artifact = put(told, environment / "source", b"new")
    assert told("get", artifact["id"], name)[1]["error"]["code"] == "configuration_invalid"
    assert sorted(found.name for found in environment.iterdir()) == ["source", "store"]


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="no file here that opens and cannot be read")
def test_a_source_that_breaks_off_is_named(told: Any, environment: Path) -> None:
    code, refusal = told("put", "/proc/self/mem")
    assert (code, refusal["error"]["code"]) == (2, "configuration_invalid")
    assert refusal["error"]["message"] == "The file '/proc/self/mem' cannot be read: Input/output error."
    assert told("list")[1] == {"artifacts": []}


def test_standard_input_and_output(environment: Path, capsysbinary: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"piped\0bytes")))
    assert run(["artifacts", "put", "-", "--json"]) == 0
    artifact = json.loads(capsysbinary.readouterr().out)
    assert artifact["name"] == "stdin"
    assert run(["artifacts", "get", artifact["id"], "-"]) == 0
    assert capsysbinary.readouterr().out == b"piped\0bytes"


def test_a_damaged_artifact_is_never_written_under_its_name(told: Any, environment: Path) -> None:
    artifact = put(told, environment / "source", b"x" * 100_000)
    (environment / "store" / artifact["storageKey"]).write_bytes(b"y" * 100_000)
    code, refusal = told("get", artifact["id"], str(environment / "fetched"))
    assert code == 1
    assert refusal["error"]["code"] == "artifact_integrity"
    assert sorted(found.name for found in environment.iterdir()) == ["source", "store"]
    code, report = told("verify")
    assert (code, report["ok"]) == (1, False)
    assert report["findings"][0]["reason"] == "corrupt"


def test_refusals_have_codes(told: Any, environment: Path) -> None:
    (environment / "source").write_bytes(b"12345")
    source = str(environment / "source")
    assert told("get", "art_none", str(environment / "x"))[1]["error"]["code"] == "artifact_missing"
    assert told("put", source, "--max-bytes", "3")[1]["error"]["code"] == "artifact_too_large"
    assert told("put", source, "--sha256", "0" * 64)[1]["error"]["code"] == "artifact_integrity"
    assert told("put", source, "--metadata", "[1]")[0] == 2
    assert told("put", source, "--metadata", "[" * 100_000)[0] == 2
    assert told("put", str(environment / "none"))[0] == 2
    for command in ("list", "verify"):
        assert told(command, "--tenant", "")[1]["error"]["message"] == "tenant is empty."
    assert told("list")[1] == {"artifacts": []}


def test_sweep_reports_and_then_repairs(told: Any, environment: Path) -> None:
    artifact = put(told, environment / "source", b"kept")
    key = storage_key("someone", new_id("art"))
    orphan, foreign = environment / "store" / key, environment / "store" / "README"
    orphan.parent.mkdir()
    for path in (orphan, foreign):
        path.write_bytes(b"x")
        os.utime(path, (1, 1))
    assert told("sweep") == (1, {"clean": False, **swept([key], repaired=False)})
    assert told("sweep", "--repair")[0] == 0
    assert not orphan.exists()
    assert foreign.exists()
    assert told("sweep")[0] == 0
    assert told("verify", "--limit", "5")[1]["checked"] == 1
    assert told("get", artifact["id"], str(environment / "fetched"))[0] == 0


def swept(orphans: list[str], *, repaired: bool) -> dict[str, Any]:
    return {"repaired": repaired, "orphans": orphans, "missing": [], "deleting": [], "busy": [], "foreign": 1, "uploads": None}


def test_transfer_moves_everything(told: Any, environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = put(told, environment / "source", b"moved")
    old, new = str(environment / "store"), str(environment / "new")
    code, dry = told("transfer", "--from", old, "--to", new, "--dry-run")
    assert (code, dry["copied"], dry["switched"]) == (0, 1, False)
    code, report = told("transfer", "--from", old, "--to", new)
    assert (code, report["copied"], report["copiedBytes"], report["switched"]) == (0, 1, 5, True)
    code, refusal = told("get", artifact["id"], str(environment / "fetched"))
    assert code == 5, refusal
    monkeypatch.setenv("FLUE_ARTIFACTS", new)
    assert told("get", artifact["id"], str(environment / "fetched"))[0] == 0
    assert (environment / "fetched").read_bytes() == b"moved"
    assert told("transfer", "--from", new, "--to", new)[0] == 2


@pytest.mark.stores
def test_transfer_names_the_option_that_was_wrong(told: Any, environment: Path) -> None:
    """The remedies know FLUE_ARTIFACTS, which may be right."""
    put(told, environment / "source", b"x")
    here, there, file = str(environment / "store"), str(environment / "new"), str(environment / "source")
    for wrong, arguments, expected in [
        ("--from", (str(environment / "nowhere"), there), 5),
        ("--to", (here, file), 5),
        ("--from", ("s3://b", there), 2),
        ("--to", (here, "s3://b"), 2),
        ("--from", ("", there), 2),
        ("--to", (here, ""), 2),
    ]:
        code, refusal = told("transfer", "--from", arguments[0], "--to", arguments[1])
        assert code == expected
        assert wrong in refusal["error"]["remedy"]
        assert ({"--from", "--to"} - {wrong}).pop() not in refusal["error"]["remedy"]
        assert "FLUE_ARTIFACTS" not in refusal["error"]["remedy"]
    assert "--" not in told("transfer", "--from", here, "--to", here)[1]["error"]["remedy"], "both, and neither is wrong by itself"


def test_a_transfer_of_nothing_does_not_say_that_rows_were_switched(environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["artifacts", "transfer", "--from", str(environment / "typo"), "--to", str(environment / "new")]) == 0
    printed = capsys.readouterr().out
    assert "No row names the store of --from" in printed
    assert "FLUE_ARTIFACTS" not in printed


def test_transfer_to_s3_takes_the_settings_of_each_side(
    told: Any, environment: Path, seaweedfs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = put(told, environment / "source", os.urandom(7_000_000))
    env_file = environment / "s3.env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in seaweedfs.environment().items() if name != "FLUE_ARTIFACTS"))
    code, report = told("transfer", "--from", str(environment / "store"), "--to", f"{seaweedfs.url}/x", "--to-env-file", str(env_file))
    assert (code, report["switched"]) == (0, True)
    assert seaweedfs.keys() == [f"x/{artifact['storageKey']}"]
    for name, value in {**seaweedfs.environment(), "FLUE_ARTIFACTS": f"{seaweedfs.url}/x"}.items():
        monkeypatch.setenv(name, value)
    assert told("verify")[1] == {"ok": True, "checked": 1, "bytesRead": 7_000_000, "findings": [], "cursor": None}
    monkeypatch.setenv("FLUE_S3_SECRET_ACCESS_KEY", "wrong-secret-never-printed")
    code, refusal = told("get", artifact["id"], str(environment / "fetched"))
    assert code == 5
    assert "never-printed" not in json.dumps(refusal)


def test_people_get_tables(environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (environment / "[bold]source").write_bytes(b"x")
    assert run(["artifacts", "put", str(environment / "[bold]source")]) == 0
    assert run(["artifacts", "list"]) == 0
    assert run(["artifacts", "verify"]) == 0
    assert run(["artifacts", "sweep"]) == 0
    assert run(["artifacts", "transfer", "--from", str(environment / "store"), "--to", str(environment / "new")]) == 0
    printed = capsys.readouterr().out
    for text in ("[bold]source", "1 checked", "Store and rows agree", "1 copied", "restart"):
        assert text in printed
    assert "1 byte " in printed
    assert re.findall(r"\b1 [a-z]+s\b", printed) == []
