"""What every command shares: options in any place, exit codes, failures without a traceback, nothing secret."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from flue_sqla import errors
from flue_sqla.cli import command as entry
from flue_sqla.cli.base import Invocation, command, pass_invocation
from flue_sqla.cli.exits import Exit
from flue_sqla.cli.main import application, run
from flue_sqla.cli.output import counted

SECRET = "hunter2-never-printed"


@pytest.fixture
def probe() -> Iterator[dict[str, Any]]:
    """A command that raises what the test says, and remembers how it was called."""
    told: dict[str, Any] = {"raises": None, "settings": 0}

    @command("probe")
    @click.option("--count", type=int, default=1)
    @pass_invocation
    def probe_command(call: Invocation, count: int) -> Exit | None:
        told.update(url=call.url, schema=call.schema, json=call.json, count=count)
        for _ in range(told["settings"]):
            call.settings()
        if told["raises"]:
            call.settings()
            raise told["raises"]
        call.out.emit({"count": count}, lambda: call.out.line(f"counted [{count}]"))
        return told.get("returns")

    application.add_command(probe_command)
    yield told
    application.commands.pop("probe")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--url", "sqlite://", "--schema", "s", "--json", "probe", "--count", "3"],
        ["probe", "--count", "3", "--json", "--schema", "s", "--url", "sqlite://"],
        ["--url", "sqlite://", "probe", "--schema", "s", "--count", "3", "--json"],
    ],
)
def test_common_options_are_accepted_before_and_after_the_command(arguments: list[str], probe: dict[str, Any]) -> None:
    assert run(arguments) == 0
    assert (probe["url"], probe["schema"], probe["json"], probe["count"]) == ("sqlite://", "s", True, 3)


def test_the_option_nearest_to_the_command_wins(probe: dict[str, Any]) -> None:
    assert run(["--url", "sqlite:///outer", "probe", "--url", "sqlite:///inner"]) == 0
    assert probe["url"] == "sqlite:///inner"


def test_people_get_text_and_programs_get_json(probe: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    run(["probe"])
    assert capsys.readouterr().out == "counted [1]\n"
    run(["probe", "--json"])
    assert json.loads(capsys.readouterr().out) == {"count": 1}


def test_one_thing_is_not_called_things() -> None:
    assert [counted(number, "row") for number in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]


def test_a_command_may_return_its_exit_code(probe: dict[str, Any]) -> None:
    probe["returns"] = Exit.SCHEMA
    assert run(["probe"]) == 4


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigurationError("m"), 2),
        (errors.InvalidInputError("m"), 2),
        (errors.ValueTooLargeError("m"), 2),
        (errors.DatabaseUnavailableError("m"), 3),
        (errors.SchemaVersionError("m"), 4),
        (errors.MigrationLockTimeout("m"), 4),
        (errors.PersistedFormatVersionError("m"), 4),
        (errors.ArtifactStoreError("m"), 5),
        (errors.SnapshotError("m"), 1),
    ],
)
def test_each_kind_of_refusal_has_its_exit_code(error: errors.FlueError, code: int, probe: dict[str, Any]) -> None:
    probe["raises"] = error
    assert run(["probe"]) == code


def test_a_refusal_says_code_message_and_remedy_and_no_traceback(probe: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    probe["raises"] = errors.SchemaVersionError("The schema is [behind].", remedy="Run flue-sqla upgrade.")
    assert run(["probe"]) == 4
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "schema_version_unsupported: The schema is [behind].\nWhat to do: Run flue-sqla upgrade.\n"


def test_a_refusal_as_json_has_stable_keys(probe: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    probe["raises"] = errors.SchemaVersionError("found 9", meta={"found": "9"}, remedy="r")
    assert run(["probe", "--json"]) == 4
    printed = capsys.readouterr()
    assert printed.out == ""
    assert json.loads(printed.err) == {
        "ok": False,
        "exit_code": 4,
        "error": {"code": "schema_version_unsupported", "message": "found 9", "remedy": "r", "meta": {"found": "9"}},
    }


@pytest.mark.parametrize("arguments", [["nonsense"], ["probe", "--nonsense"], ["probe", "--count", "x"], ["verify", "extra"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str], probe: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: ")
    assert run([*arguments, "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "usage"


def test_wrong_settings_are_exit_code_2_by_variable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DATABASE_URL", f"oracle://u:{SECRET}@h/d")
    monkeypatch.setenv("FLUE_MIGRATE", "x")
    assert run(["current"]) == 2
    printed = capsys.readouterr().err
    assert "DATABASE_URL" in printed
    assert "FLUE_MIGRATE" in printed
    assert SECRET not in printed


def test_a_misspelt_variable_is_mentioned_once_to_people(
    probe: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLUE_SHCEMA", SECRET)
    probe["settings"] = 2
    assert run(["probe"]) == 0
    assert capsys.readouterr().err == "These variables are no settings and are ignored: FLUE_SHCEMA (did you mean FLUE_SCHEMA?).\n"
    assert run(["probe", "--json"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_an_unforeseen_failure_never_shows_a_secret(debug: list[str], probe: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    probe["raises"] = RuntimeError(f"driver says: postgresql://u:{SECRET}@h/d\nsecond line")
    assert run(["probe", "--url", f"postgresql://u:{SECRET}@h/d", *debug]) == 1
    printed = capsys.readouterr().err
    assert SECRET not in printed
    assert "unexpected: RuntimeError: driver says" in printed
    assert ("Traceback" in printed) is bool(debug)


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_failure(tmp_path: Path, closed: str) -> None:
    """And no other file gets its number: SQLite would write its pages where a message goes."""
    url = f"sqlite:///{tmp_path / 'a.db'}"
    for words in ("upgrade", "--help"):
        line = f'exec "{sys.executable}" -m flue_sqla.cli {words} --url {url} {closed}'
        done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
    assert run(["verify", "--url", url]) == 0


def test_an_interrupt_is_exit_code_130(probe: dict[str, Any]) -> None:
    probe["raises"] = KeyboardInterrupt()
    assert run(["probe"]) == 130


def test_every_listed_command_loads(capsys: pytest.CaptureFixture[str]) -> None:
    context = click.Context(application)
    for name in application.list_commands(context):
        assert application.get_command(context, name) is not None
        assert run([name, "--help"]) == 0
    assert "--json" in capsys.readouterr().out


def test_help_imports_neither_alembic_nor_a_driver() -> None:
    code = (
        "import sys; from flue_sqla.cli.main import run; run(['--help']);"
        "sys.exit(len({'alembic', 'psycopg', 'pymysql', 'fsspec', 's3fs'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_without_the_extra_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(SystemExit) as left:
        entry()
    assert left.value.code == 2
    assert "pip install 'flue-sqla[cli]'" in capsys.readouterr().err
