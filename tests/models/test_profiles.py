"""The metadata of each profile: which tables, which columns, which names."""

from __future__ import annotations

import pytest
from sqlalchemy import CheckConstraint, ForeignKeyConstraint, PrimaryKeyConstraint, UniqueConstraint
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from flue_sqla import models
from flue_sqla.errors import ConfigurationError
from flue_sqla.models import metadata_for, tables

DIALECTS = ["postgresql", "mysql", "mariadb", "sqlite"]
SQLITE_ONLY = {"flue_conversation_stream_batch_chunks", "flue_conversation_fold_checkpoint_chunks", "flue_attachment_chunks"}
MYSQL_ONLY = {"flue_agent_session_locks"}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_profile_has_its_own_tables(dialect: str) -> None:
    found = set(metadata_for(dialect).tables)
    assert found & SQLITE_ONLY == (SQLITE_ONLY if dialect == "sqlite" else set())
    assert found & MYSQL_ONLY == (MYSQL_ONLY if dialect in ("mysql", "mariadb") else set())
    assert found - SQLITE_ONLY - MYSQL_ONLY == set(models.Base.metadata.tables) - SQLITE_ONLY - MYSQL_ONLY


def test_mariadb_is_the_mysql_profile() -> None:
    assert metadata_for("mariadb") is metadata_for("mysql")


def test_attachments_and_checkpoints_differ_by_profile() -> None:
    for dialect in DIALECTS:
        chunked = dialect == "sqlite"
        attachments = metadata_for(dialect).tables["flue_attachments"].c
        checkpoints = metadata_for(dialect).tables["flue_conversation_fold_checkpoints"].c
        assert ("chunk_count" in attachments, "bytes" in attachments) == (chunked, not chunked)
        assert ("chunk_count" in checkpoints, checkpoints.data.nullable) == (chunked, chunked)


def test_an_unsupported_dialect_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="oracle"):
        metadata_for("oracle")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_constraint_has_a_name_that_postgresql_would_give(dialect: str) -> None:
    for table in metadata_for(dialect).tables.values():
        for constraint in table.constraints:
            if constraint.name is None:
                assert isinstance(constraint, PrimaryKeyConstraint)
                assert dialect in ("mysql", "mariadb"), "where each is called PRIMARY"
                continue
            name = str(constraint.name)
            suffix = next(
                suffix
                for kind, suffix in (
                    (PrimaryKeyConstraint, "_pkey"),
                    (UniqueConstraint, "_key"),
                    (CheckConstraint, "_check"),
                    (ForeignKeyConstraint, "_fkey"),
                )
                if isinstance(constraint, kind)
            )
            if name == "flue_conversation_stream_batches_producer_idx":
                assert dialect in ("mysql", "mariadb")
                continue
            assert name.endswith(suffix)
            assert len(name) <= 63


@pytest.mark.parametrize("dialect", DIALECTS)
def test_names_are_unique_and_short_enough(dialect: str) -> None:
    metadata = metadata_for(dialect)
    names = [str(index.name) for table in metadata.tables.values() for index in table.indexes]
    assert len(names) == len(set(names))
    assert all(len(name) <= 63 for name in names)


def test_the_schema_is_given_to_every_table() -> None:
    placed = metadata_for("postgresql", "agents")
    assert {table.schema for table in placed.tables.values()} == {"agents"}
    assert sum(len(table.indexes) for table in placed.tables.values()) == sum(
        len(table.indexes) for table in metadata_for("postgresql").tables.values()
    )
    assert metadata_for("postgresql").tables["flue_runs"].schema is None


def test_byte_order_on_postgresql() -> None:
    """Listings are ordered by bytes whatever the database's collation."""
    metadata = metadata_for("postgresql")
    runs = str(CreateTable(metadata.tables["flue_runs"]).compile(dialect=postgresql.dialect()))
    assert 'run_id TEXT COLLATE "C" NOT NULL' in runs
    assert 'started_at TEXT COLLATE "C" NOT NULL' in runs
    artifacts = str(CreateTable(metadata.tables["flue_artifacts"]).compile(dialect=postgresql.dialect()))
    for column in ("id", "tenant", "run_id", "submission_id"):
        assert f'\t{column} TEXT COLLATE "C"' in artifacts
    lane = next(index for index in metadata.tables["flue_agent_submissions"].indexes if "lane" in str(index.name))
    assert "(session_key COLLATE \"C\", sequence) WHERE status = 'queued'" in str(CreateIndex(lane).compile(dialect=postgresql.dialect()))


def test_the_short_names_cover_every_table() -> None:
    named = {value.name for value in vars(tables).values() if hasattr(value, "primary_key") and hasattr(value, "name")}
    assert named == set(models.Base.metadata.tables)
