"""What waits for a host's commit, when the host works with savepoints: it comes with what was committed, and with nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from flue_sqla import Flue
from flue_sqla.dialects.engines import create_engine
from tests.conversations.streams import PATH, append, owned_stream
from tests.databases.contract import Database
from tests.submissions.inputs import direct


class Host:
    """A session or connection of the host's, bound; and how often the listener of a stream was called."""

    def __init__(self, engine: sa.Engine, kind: str, artifacts: str) -> None:
        self.engine = engine
        self.flue = Flue(engine=engine, artifacts=artifacts)
        self.producer = owned_stream(self.flue)
        self.calls = 0
        self.flue.conversations.subscribe(PATH, self._called)
        self.target: Any = Session(engine) if kind == "session" else engine.connect()
        self.unit = self.flue.bind(self.target)
        self._sequence = 0

    def _called(self) -> None:
        self.calls += 1

    def append(self) -> None:
        append(self.unit, self.producer, sequence=self._sequence)
        self._sequence += 1


@pytest.fixture(params=["session", "connection"])
def host(migrated: Database, artifact_url: str, request: pytest.FixtureRequest) -> Iterator[Host]:
    engine = create_engine(migrated.url)
    made = Host(engine, request.param, artifact_url)
    yield made
    made.target.close()
    engine.dispose()


def test_a_released_savepoint_is_no_commit(host: Host) -> None:
    with host.target.begin_nested():
        host.append()
    assert host.calls == 0
    host.target.commit()
    assert host.calls == 1


def test_a_savepoint_that_is_rolled_back_takes_only_what_came_since(host: Host) -> None:
    host.append()
    with host.target.begin_nested():
        host.append()
        inner = host.target.begin_nested()
        append(host.unit, host.producer, sequence=2)
        inner.rollback()
    host.target.commit()
    assert host.calls == 2
    assert len(host.flue.conversations.read(PATH).batches) == 2


def test_what_a_released_savepoint_did_is_forgotten_with_the_outer_one(host: Host) -> None:
    outer = host.target.begin_nested()
    with host.target.begin_nested():
        host.append()
    outer.rollback()
    host.target.commit()
    assert host.calls == 0


def test_closing_without_a_commit_forgets_everything(host: Host) -> None:
    host.append()
    host.target.close()
    with Session(host.engine) as other:
        other.commit()
    if isinstance(host.target, Session):  # a closed session begins anew
        host.target.execute(sa.select(sa.literal(1)))
        host.target.commit()
    assert host.calls == 0


def test_an_artifact_keeps_its_bytes_when_its_deletion_is_rolled_back_after_a_savepoint(host: Host) -> None:
    artifact = host.flue.artifacts.put(b"precious", name="file")
    with host.target.begin_nested():
        assert host.unit.artifacts.delete(artifact.id)
    host.target.rollback()
    with host.flue.artifacts.open(artifact.id) as file:
        assert file.read() == b"precious"


@pytest.mark.databases("postgres")
def test_a_failing_commit_of_a_connection_is_the_error_that_a_host_knows(migrated: Database) -> None:
    engine = sa.create_engine(migrated.url)
    migrated.admin_execute("CREATE TABLE parent (id integer PRIMARY KEY)")
    migrated.admin_execute("CREATE TABLE child (parent integer REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
    flue = Flue(engine=engine)
    with engine.connect() as connection:
        flue.bind(connection).submissions.admit_direct(direct("one"))
        connection.exec_driver_sql("INSERT INTO child VALUES (1)")
        with pytest.raises(sa.exc.IntegrityError):
            connection.commit()
        connection.rollback()
    assert flue.submissions.get("one") is None
    assert engine.pool.checkedout() == 0
