"""``upgrade``, ``current``, ``verify``, ``sql`` as an operator meets them."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flue_sqla.cli.main import run
from tests.databases.contract import Database

Command = Callable[..., tuple[int, Any]]
SECRET = "hunter2-never-printed"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command line with --json; gives its exit code and its one JSON document."""

    def call(*arguments: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = run([*arguments, "--json"])
        printed = capsys.readouterr()
        assert SECRET not in printed.out + printed.err
        return code, json.loads(printed.out or printed.err)

    return call


def _tables(database: Database) -> set[str]:
    if database.name == "sqlite":
        return {str(row[0]) for row in database.admin_execute("SELECT name FROM sqlite_master")}
    statement = "SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'flue%%' AND table_schema IN (%s, 'public')"
    return {str(row[0]) for row in database.admin_execute(statement, [database.schema_name])}


def test_the_life_of_a_database(database: Database, command: Command) -> None:
    assert command("current", "--url", database.url)[1]["verdict"] == "empty"
    code, refusal = command("verify", "--url", database.url)
    assert (code, refusal["exit_code"], refusal["error"]["code"]) == (4, 4, "schema_version_unsupported")
    assert "upgrade" in refusal["error"]["remedy"]
    assert _tables(database) == set()

    code, done = command("upgrade", "--url", database.url)
    assert (code, done["verdict"], done["previous"], done["changed"]) == (0, "current", "empty", True)
    code, again = command("upgrade", "--url", database.url)
    assert (code, again["verdict"], again["changed"]) == (0, "current", False)
    assert command("verify", "--url", database.url)[0] == 0
    assert command("current", "--url", database.url)[1]["revision"] == again["supportedRevision"]


def test_current_succeeds_on_what_verify_and_upgrade_refuse(migrated: Database, command: Command) -> None:
    migrated.admin_execute("UPDATE flue_meta SET value = '7' WHERE value = '1'")
    before = _tables(migrated)
    code, found = command("current", "--url", migrated.url)
    assert (code, found["compatible"], found["formatVersion"]) == (0, False, "7")
    for refusing in ("verify", "upgrade"):
        code, refusal = command(refusing, "--url", migrated.url)
        assert (code, refusal["error"]["code"]) == (4, "persisted_format_version_unsupported")
        assert refusal["error"]["meta"]["storedVersion"] == "7"
        # To a database of the future nobody says "upgrade it".
        assert "flue-sqla upgrade" not in refusal["error"]["remedy"]
    assert _tables(migrated) == before


@pytest.mark.parametrize("name", ["current", "verify", "upgrade"])
@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://user:{SECRET}@127.0.0.1:1/none?connect_timeout=2",
        f"mysql+pymysql://user:{SECRET}@127.0.0.1:1/none",
        "sqlite:////nowhere/at/all/flue.db",
    ],
)
def test_an_unreachable_database_is_exit_code_3(name: str, url: str, command: Command) -> None:
    code, refusal = command(name, "--url", url)
    assert (code, refusal["error"]["code"]) == (3, "database_unavailable")


@pytest.mark.parametrize("form", ["{path}", "file:{path}?uri=true"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["current"], 0),
        (["verify"], 4),
        (["status"], 4),
        (["runs", "list"], 4),
        (["submissions", "show", "sub_1"], 4),
        (["artifacts", "list"], 4),
        (["conversations", "verify"], 4),
        (["prune", "--keep-last", "1", "--dry-run"], 4),
        (["snapshot", "export", "{folder}/out"], 4),
        (["check"], 4),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_looking_at_a_file_that_is_not_there_creates_nothing(
    form: str, arguments: list[str], code: int, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLUE_ARTIFACTS", str(tmp_path / "store"))
    path = tmp_path / "flue.db"
    url = f"sqlite:///{form.format(path=path)}"
    left, told = command(*(argument.format(folder=tmp_path) for argument in arguments), "--url", url)
    assert left == code
    assert f"{str(path)!r} does not exist yet" in json.dumps(told)
    assert list(tmp_path.iterdir()) == []


def test_upgrading_a_file_that_is_not_there_creates_it(tmp_path: Path, command: Command) -> None:
    url = f"sqlite:///{tmp_path / 'flue.db'}"
    assert command("current", "--url", url)[1]["verdict"] == "empty"
    assert command("upgrade", "--url", url)[1]["previous"] == "empty"
    assert command("status", "--url", url)[0] == 0


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, command: Command) -> None:
    path = tmp_path / "flue.db"
    path.write_bytes(b"this is not a database, " * 100)
    before = path.read_bytes()
    code, refusal = command("upgrade", "--url", f"sqlite:///{path}")
    assert (code, refusal["ok"]) == (3, False)
    assert path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_file_is_refused(tmp_path: Path, command: Command) -> None:
    path = tmp_path / "flue.db"
    sqlite3.connect(path).execute("CREATE TABLE mine (n)").connection.close()
    path.chmod(stat.S_IRUSR)
    code, refusal = command("upgrade", "--url", f"sqlite:///{path}")
    assert (code, refusal["error"]["code"]) == (4, "schema_permission_denied")


@pytest.mark.databases("postgres")
def test_a_named_schema_gets_all_tables(database: Database, command: Command) -> None:
    assert command("upgrade", "--url", database.url, "--schema", 'Agents "%" x')[0] == 0
    where = database.admin_execute("SELECT DISTINCT table_schema FROM information_schema.tables WHERE table_name LIKE 'flue%'")
    assert where == [('Agents "%" x',)]
    assert command("verify", "--url", database.url, "--schema", 'Agents "%" x')[0] == 0
    assert command("current", "--url", database.url)[1]["verdict"] == "empty"


@pytest.mark.parametrize("dialect", ["postgresql", "mysql", "mariadb", "sqlite"])
def test_sql_prints_a_script_and_connects_to_nothing(dialect: str, command: Command) -> None:
    code, printed = command("sql", "--dialect", dialect, "--url", f"postgresql://user:{SECRET}@127.0.0.1:1/none")
    assert (code, printed["dialect"]) == (0, dialect)
    statements = printed["sql"]
    assert statements.index("format_version") < statements.index("CREATE TABLE flue_alembic_version".replace("CREATE TABLE ", ""))
    assert "flue_agent_submissions" in statements


def test_the_script_makes_what_upgrade_makes(database: Database, capsys: pytest.CaptureFixture[str], command: Command) -> None:
    assert run(["sql", "--url", database.url]) == 0
    _execute_script(database, capsys.readouterr().out)
    assert command("verify", "--url", database.url)[0] == 0


def _execute_script(database: Database, script: str) -> None:
    """As a database administrator would: the whole file at once."""
    if database.name == "sqlite":
        connection = sqlite3.connect(database.schema_name)
        connection.executescript(script)
        connection.close()
    elif database.name == "postgres":
        database.admin_execute(script)
    else:
        import pymysql
        from pymysql.constants import CLIENT
        from sqlalchemy import make_url

        url = make_url(database.url)
        connection_arguments: dict[str, Any] = {"host": url.host, "port": url.port, "user": url.username, "database": url.database}
        connection = pymysql.connect(**connection_arguments, client_flag=CLIENT.MULTI_STATEMENTS, autocommit=True)
        with connection, connection.cursor() as cursor:
            cursor.execute(script)
            while cursor.nextset():
                pass


@pytest.mark.parametrize("dialect", ["postgresql", "mysql"])
def test_grants_name_both_roles(dialect: str, command: Command) -> None:
    code, printed = command("sql", "--grants", "--dialect", dialect, "--app-role", "shop", "--migrator-role", "shop_owner")
    assert code == 0
    assert "GRANT" in printed["sql"]
    assert "shop" in printed["sql"]
    assert "shop_owner" in printed["sql"]


@pytest.mark.parametrize("options", [("--grants", "--adopt"), ("--app-role", "shop"), ("--migrator-role", "shop_owner")])
def test_sql_refuses_options_that_would_be_ignored(options: tuple[str, ...], command: Command) -> None:
    code, refusal = command("sql", "--dialect", "postgresql", *options)
    assert (code, refusal["error"]["code"]) == (2, "usage")


def test_the_script_names_the_option_for_a_database_of_a_flue_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sql", "--dialect", "sqlite"]) == 0
    assert "--adopt" in capsys.readouterr().out.splitlines()[0]


def test_people_read_the_verdict_in_words(migrated: Database, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["current", "--url", migrated.url]) == 0
    assert capsys.readouterr().out.startswith("current: ")


def test_a_host_that_owns_the_history_is_told_its_own_command(
    database: Database, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setenv("FLUE_VERSION_TABLE", "alembic_version")
    code, refusal = command("upgrade", "--url", database.url)
    assert code == 4
    assert "alembic upgrade heads" in refusal["error"]["remedy"]


def test_the_settings_come_from_an_env_file_too(tmp_path: Path, command: Command) -> None:
    env_file = tmp_path / "env"
    env_file.write_text(f"DATABASE_URL=sqlite:///{tmp_path / 'flue.db'}\n")
    assert command("upgrade", "--env-file", str(env_file))[1]["changed"] is True
