"""Wrong, unreachable, forbidden: a clear error with its code and without secrets, and nothing changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flue_sqla import Flue
from flue_sqla.dialects.engines import create_engine
from flue_sqla.dialects.sqlite_file import how_to_open
from flue_sqla.errors import DatabaseUnavailableError, SchemaPermissionError
from flue_sqla.schema.boot import boot
from flue_sqla.schema.verdict import VerdictKind
from tests.databases.contract import Database
from tests.schema.catalogs import catalog, execute

PASSWORD = "hunter2-s3cret"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://somebody:{PASSWORD}@127.0.0.1:1/flue",
        f"mysql+pymysql://somebody:{PASSWORD}@127.0.0.1:1/flue",
        f"mariadb+pymysql://somebody:{PASSWORD}@127.0.0.1:1/flue",
        "sqlite:////no/such/folder/flue.db",
    ],
)
@pytest.mark.parametrize("mode", ["auto", "verify"])
def test_a_database_that_is_not_there(url: str, mode: Any) -> None:
    engine = create_engine(url)
    with pytest.raises(DatabaseUnavailableError) as caught:
        boot(engine, mode=mode)
    shown = f"{caught.value} {caught.value.meta} {caught.value.remedy} {caught.value!r}"
    assert PASSWORD not in shown
    assert caught.value.code == "database_unavailable"


@pytest.mark.databases("postgres", "mariadb")
def test_a_login_that_is_refused(database: Database) -> None:
    url = sa.make_url(database.url).set(username="nobody_of_this_name", password=PASSWORD)
    with pytest.raises(DatabaseUnavailableError) as caught:
        boot(create_engine(url))
    assert PASSWORD not in f"{caught.value} {caught.value.meta}"


@pytest.mark.databases("postgres", "mariadb")
def test_a_database_of_another_name(database: Database) -> None:
    with pytest.raises(DatabaseUnavailableError, match="no_such_database"):
        boot(create_engine(sa.make_url(database.url).set(database="no_such_database")))


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "notes.db"
    file.write_text("these are notes, not a database, and they are longer than a page header of one hundred bytes" * 20)
    before = file.read_bytes()
    with pytest.raises(DatabaseUnavailableError):
        boot(create_engine(f"sqlite:///{file}"))
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("place", "advice"),
    [("missing/flue.db", "Create the folder"), ("folder", "is a folder"), ("notes", "is a SQLite database"), ("notes/flue.db", "")],
)
@pytest.mark.parametrize("call", [lambda flue: flue.boot(), lambda flue: flue.submissions.get("sub_1")], ids=["boot", "first call"])
def test_the_remedy_for_a_file_speaks_of_the_file(tmp_path: Path, place: str, advice: str, call: Any) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes").write_text("no database " * 200)
    with Flue(f"sqlite:///{tmp_path / place}") as flue, pytest.raises(DatabaseUnavailableError) as caught:
        call(flue)
    assert advice in caught.value.remedy
    assert str(tmp_path / place).removesuffix("/flue.db") in caught.value.remedy
    assert "server" not in caught.value.remedy


def test_the_remedy_for_a_file_of_somebody_else_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A user that owns everything, as tests often are, is refused nothing; what the system would say to another one:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert "Let this user read and write" in how_to_open(tmp_path / "flue.db")


def test_the_remedy_for_a_server_speaks_of_the_server() -> None:
    with (
        Flue("postgresql+psycopg://somebody@127.0.0.1:1/flue") as flue,
        pytest.raises(DatabaseUnavailableError, match="cannot be") as caught,
    ):
        flue.submissions.get("sub_1")
    assert "server is running" in caught.value.remedy


@pytest.mark.databases("postgres")
def test_a_role_that_may_not_create(database: Database) -> None:
    database.admin_execute("DROP ROLE IF EXISTS flue_reader")
    database.admin_execute("CREATE ROLE flue_reader LOGIN")
    database.admin_execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    before = catalog(database)
    engine = create_engine(sa.make_url(database.url).set(username="flue_reader"))
    with pytest.raises(SchemaPermissionError) as caught:
        boot(engine)
    assert "permission denied" in str(caught.value)
    assert "migrate=verify" in caught.value.remedy
    with pytest.raises(SchemaPermissionError):
        boot(engine, schema="brand_new")
    engine.dispose()
    assert catalog(database) == before


@pytest.mark.databases("mariadb")
def test_a_user_that_may_not_create(database: Database) -> None:
    database.admin_execute("CREATE OR REPLACE USER flue_reader@'%'")
    database.admin_execute(f"GRANT SELECT ON {database.schema_name}.* TO flue_reader@'%'")
    before = catalog(database)
    engine = create_engine(sa.make_url(database.url).set(username="flue_reader"))
    with pytest.raises(SchemaPermissionError):
        boot(engine)
    engine.dispose()
    assert catalog(database) == before


@pytest.mark.databases("postgres")
def test_a_read_only_server(database: Database) -> None:
    execute(database, f'ALTER DATABASE "{database.schema_name}" SET default_transaction_read_only = on')
    engine = create_engine(database.url)
    with pytest.raises(SchemaPermissionError, match="read-only"):
        boot(engine)
    engine.dispose()


@pytest.mark.databases("sqlite")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write a read-only file; see the test below for its equal")
def test_a_read_only_file(database: Database) -> None:
    file = Path(str(sa.make_url(database.url).database))
    execute(database, "CREATE TABLE orders (id INTEGER)")
    file.chmod(0o400)
    file.parent.chmod(0o500)
    engine = create_engine(database.url)
    with pytest.raises(SchemaPermissionError):
        boot(engine)
    engine.dispose()
    file.parent.chmod(0o700)


@pytest.mark.databases("sqlite")
def test_a_file_that_was_opened_read_only(database: Database) -> None:
    execute(database, "CREATE TABLE orders (id INTEGER)")
    before = catalog(database)
    file = sa.make_url(database.url).database
    engine = create_engine(f"sqlite:///file:{file}?mode=ro&uri=true")
    with pytest.raises(SchemaPermissionError):
        boot(engine)
    engine.dispose()
    assert catalog(database) == before


@pytest.mark.databases("sqlite")
def test_verify_works_on_a_file_that_was_opened_read_only(migrated: Database) -> None:
    file = sa.make_url(migrated.url).database
    engine = create_engine(f"sqlite:///file:{file}?mode=ro&uri=true")
    assert boot(engine, mode="verify").kind is VerdictKind.CURRENT
    engine.dispose()
