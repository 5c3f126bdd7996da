"""Our tables in a named schema, and a host whose isolation is stricter than ours."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from flue_sqla import Flue
from flue_sqla.errors import SerializationConflict, SessionConflictError
from flue_sqla.models import tables
from tests.databases.contract import Database
from tests.retention.work import ended_run, settled
from tests.sessions.documents import KEY, chain, document, ids, message


def exercise(flue: Flue) -> None:
    """One of everything that these repositories do."""
    flue.sessions.save(KEY, document(chain(3)))
    flue.sessions.append(KEY, [message("e3", "e2")], expected_leaf="e2")
    assert ids(flue.sessions.context(KEY)) == ids(flue.sessions.tail(KEY, 9)) == ["e0", "e1", "e2", "e3"]
    settled(flue, "old")
    ended_run(flue, "run_1")
    assert flue.runs.recover(0) == []
    with flue.runs.record("nightly") as run:
        run.emit({"type": "log"})
    assert flue.status().agents == []
    told = flue.prune(older_than=timedelta(days=1), instances=[("assistant", "agent-9")])
    assert told.deleted["flue_runs"] == 0
    assert flue.prune(keep_last=0).deleted["flue_runs"] == 2
    flue.sessions.delete_tree(KEY)
    assert flue.sessions.load(KEY) is None


@pytest.mark.databases("postgres")
def test_in_a_schema_of_their_own(database: Database) -> None:
    database.admin_execute("CREATE SCHEMA elsewhere")
    flue = Flue(database.url, schema="elsewhere")
    flue.boot()
    exercise(flue)
    assert database.admin_execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename LIKE 'flue%'") == [(0,)]
    flue.close()


@pytest.mark.databases("postgres", "mariadb")
@pytest.mark.parametrize("level", ["SERIALIZABLE", "REPEATABLE READ"])
def test_on_an_engine_with_a_stricter_default(migrated: Database, level: str) -> None:
    engine = sa.create_engine(migrated.url, isolation_level=level)
    flue = Flue(engine=engine)
    exercise(flue)
    flue.close()
    engine.dispose()


@pytest.mark.databases("postgres", "mariadb")
def test_a_bound_session_with_an_old_snapshot_is_told(migrated: Database, flue: Flue) -> None:
    """What another transaction appended after the host's snapshot is a conflict or a serialization failure, never overwritten."""
    flue.sessions.save(KEY, document(chain(2)))
    engine = sa.create_engine(migrated.url, isolation_level="REPEATABLE READ")
    with engine.connect() as connection, connection.begin():
        connection.execute(sa.select(tables.meta.c.key)).all()
        flue.sessions.append(KEY, [message("theirs", "e1")], expected_leaf="e1")
        with pytest.raises((SessionConflictError, SerializationConflict)):
            flue.bind(connection).sessions.append(KEY, [message("ours", "e1")], expected_leaf="e1")
    engine.dispose()
    assert ids(flue.sessions.tail(KEY, 9)) == ["e0", "e1", "theirs"]


@pytest.mark.databases("mariadb")
def test_a_bound_session_with_an_old_snapshot_takes_the_next_position(migrated: Database, flue: Flue) -> None:
    flue.sessions.save(KEY, document(chain(2)))
    engine = sa.create_engine(migrated.url, isolation_level="REPEATABLE READ")
    with engine.connect() as connection, connection.begin():
        connection.execute(sa.select(tables.meta.c.key)).all()
        flue.sessions.append(KEY, [message("theirs", "e1")])
        flue.bind(connection).sessions.append(KEY, [message("ours", "theirs")])
    engine.dispose()
    assert ids(flue.sessions.tail(KEY, 9)) == ["e0", "e1", "theirs", "ours"]
