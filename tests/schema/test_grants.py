"""The least rights that ``flue-sqla sql --grants`` gives are enough, and no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from flue_sqla import DirectInput, Flue
from flue_sqla.dialects.engines import create_engine
from flue_sqla.errors import SchemaPermissionError
from flue_sqla.schema import grants
from flue_sqla.schema.boot import boot
from flue_sqla.schema.verdict import VerdictKind
from tests.databases.contract import Database
from tests.migrations.scripts import DIALECTS, statements

APP, MIGRATOR = "flue_test_app", "flue_test_migrator"


@pytest.fixture
def roles(database: Database) -> Iterator[None]:
    """Two roles without any right of their own."""
    postgres = database.name == "postgres"
    for role in (APP, MIGRATOR):
        if postgres:
            database.admin_execute(f"DROP ROLE IF EXISTS {role}")
            database.admin_execute(f"CREATE ROLE {role} LOGIN")
        else:
            database.admin_execute(f"CREATE OR REPLACE USER {role}@'%'")
    if postgres:
        database.admin_execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    yield
    for role in (APP, MIGRATOR):
        if postgres:
            database.admin_execute(f"REASSIGN OWNED BY {role} TO CURRENT_USER")
            database.admin_execute(f"DROP OWNED BY {role}")
            database.admin_execute(f"DROP ROLE {role}")
        else:
            database.admin_execute(f"DROP USER {role}@'%'")


def _grant(database: Database) -> None:
    script = grants.sql(DIALECTS[database.name], None if database.name == "postgres" else database.schema_name, APP, MIGRATOR)
    if database.name == "postgres":
        database.admin_execute(script)
        return
    for statement in statements(script):
        try:
            database.admin_execute(statement)
        except Exception as error:
            # Before the migration there are no tables to give rights on.
            if "doesn't exist" not in str(error):
                raise


def _url(database: Database, role: str) -> sa.URL:
    return sa.make_url(database.url).set(username=role)


@pytest.mark.databases("postgres", "mariadb")
def test_one_role_migrates_and_another_works(database: Database, roles: None, artifact_url: str) -> None:
    _grant(database)
    migrator, app = create_engine(_url(database, MIGRATOR)), create_engine(_url(database, APP))
    if database.name == "postgres":
        with pytest.raises(SchemaPermissionError):
            boot(app)
    assert boot(migrator).previous is VerdictKind.EMPTY
    _grant(database)
    assert boot(app, mode="verify").kind is VerdictKind.CURRENT

    flue = Flue(engine=app, artifacts=artifact_url)
    submission = flue.submissions.admit_direct(
        DirectInput.from_wire(
            {
                "submissionId": "sub_1",
                "agent": "a",
                "id": "i",
                "acceptedAt": "2025-01-01T00:00:00.000Z",
                "message": {"kind": "user", "body": "hello"},
            }
        )
    )
    assert flue.submissions.get(submission.submission_id) is not None
    flue.close()

    for forbidden in ("DELETE FROM flue_meta", "DELETE FROM flue_alembic_version", "DROP TABLE flue_runs"):
        with pytest.raises(DBAPIError, match=r"(?i)denied|must be owner"), app.begin() as connection:
            connection.exec_driver_sql(forbidden)
    for engine in (app, migrator):
        engine.dispose()


def test_names_are_quoted() -> None:
    text = grants.sql("postgresql", 'we"ird', "o'app", "100%")
    assert '"we""ird"' in text
    assert "'o''app'" in text
    assert '"100%"' in text
    assert '`we"ird`' in grants.sql("mysql", 'we"ird', "app", "migrator")
    assert "no roles" in grants.sql("sqlite")
