"""The fixtures keep what they promise; everything else rests on it."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tests.databases.contract import Database
from tests.databases.stores import S3Store


def _count(database: Database) -> int:
    engine = create_engine(database.url, poolclass=NullPool)
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM probe")).scalar_one())


def test_two_drivers_and_the_administrator_see_one_database(database: Database) -> None:
    database.admin_execute("CREATE TABLE probe (n INTEGER)")
    engine = create_engine(database.url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO probe VALUES (1)"))

    async def insert() -> None:
        async_engine = create_async_engine(database.async_url, poolclass=NullPool)
        async with async_engine.begin() as connection:
            await connection.execute(text("INSERT INTO probe VALUES (2)"))
        await async_engine.dispose()

    asyncio.run(insert())
    assert sorted(database.admin_execute("SELECT n FROM probe")) == [(1,), (2,)]


def test_each_test_has_a_database_of_its_own(database: Database) -> None:
    sibling = database.sibling()
    database.admin_execute("CREATE TABLE probe (n INTEGER)")
    sibling.admin_execute("CREATE TABLE probe (n INTEGER)")
    sibling.admin_execute("INSERT INTO probe VALUES (1)")
    assert (_count(database), _count(sibling)) == (0, 1)


@pytest.mark.parametrize("immediate", [False, True])
def test_committed_rows_survive_a_restart(database: Database, immediate: bool) -> None:
    database.admin_execute("CREATE TABLE probe (n INTEGER)")
    for n in range(20):
        database.admin_execute(f"INSERT INTO probe VALUES ({n})")
    database.restart(immediate=immediate)
    assert _count(database) == 20
    database.sibling()


@pytest.mark.databases("postgres", "mariadb")
def test_a_stopped_server_refuses(database: Database) -> None:
    database.admin_execute("CREATE TABLE probe (n INTEGER)")
    with database.stopped(), pytest.raises(Exception, match=r"(?i)refused|connect"):
        _count(database)
    assert _count(database) == 0


def test_icu_collation_orders_unlike_bytes(icu_database: Database) -> None:
    rows = icu_database.admin_execute("SELECT v FROM (VALUES ('B'), ('a')) AS t (v) ORDER BY v")
    assert rows == [("a",), ("B",)]


async def test_coroutine_tests_run_on_the_loop_of_their_fixtures(runner: asyncio.Runner) -> None:
    assert asyncio.get_running_loop() is runner.get_loop()


@pytest.mark.stores
@pytest.mark.parametrize("store", ["seaweedfs", "moto_s3", "rclone_s3"])
def test_each_store_gives_an_empty_bucket(store: str, request: pytest.FixtureRequest) -> None:
    bucket: S3Store = request.getfixturevalue(store)
    assert bucket.keys() == []
    bucket.client().put_object(Bucket=bucket.bucket, Key="tenant/a", Body=b"bytes")
    assert bucket.keys() == ["tenant/a"]
    assert bucket.client().get_object(Bucket=bucket.bucket, Key="tenant/a")["Body"].read() == b"bytes"


@pytest.mark.stores
def test_seaweedfs_checks_signatures(seaweedfs: S3Store) -> None:
    from botocore.exceptions import ClientError

    from tests.databases.stores import _client

    with pytest.raises(ClientError, match=r"SignatureDoesNotMatch|InvalidAccessKeyId|AccessDenied|signature"):
        _client(seaweedfs.endpoint, secret_key="wrong").put_object(Bucket=seaweedfs.bucket, Key="k", Body=b"")
