"""spec/schema.md §6.2: what a Node server checks on MySQL before it starts, against the DDL that we compile for MySQL."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import UniqueConstraint
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from flue_sqla.models import metadata_for

METADATA = metadata_for("mysql")
BIN, ASCII = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "CHARACTER SET ascii COLLATE ascii_bin"

EXACT = {
    "flue_meta.key": f"VARCHAR(64) {BIN} NOT NULL",
    "flue_submission_chunks.submission_id": f"VARCHAR(255) {BIN} NOT NULL",
    "flue_submission_chunks.item_id": f"VARCHAR(128) {BIN} NOT NULL",
    "flue_submission_chunks.chunk_index": "INTEGER NOT NULL",
    "flue_agent_session_locks.session_key": f"VARCHAR(512) {BIN} NOT NULL",
    "flue_agent_submissions.sequence": "BIGINT UNSIGNED NOT NULL AUTO_INCREMENT",
    "flue_agent_submissions.submission_id": f"VARCHAR(255) {BIN} NOT NULL",
    "flue_agent_submissions.session_key": f"VARCHAR(512) {BIN} NOT NULL",
    "flue_agent_submissions.status": f"VARCHAR(16) {ASCII} NOT NULL",
    "flue_agent_submissions.attempt_count": "INTEGER NOT NULL DEFAULT 0",
    "flue_agent_submissions.max_attempts": "INTEGER NOT NULL DEFAULT 10",
    "flue_agent_submissions.timeout_at": "BIGINT NOT NULL DEFAULT 0",
    "flue_agent_submissions.lease_expires_at": "BIGINT NOT NULL DEFAULT 0",
    "flue_conversation_streams.path": f"VARCHAR(255) {BIN} NOT NULL",
    "flue_conversation_streams.next_offset": "BIGINT NOT NULL DEFAULT 0",
    "flue_conversation_stream_batches.path": f"VARCHAR(255) {BIN} NOT NULL",
    "flue_conversation_stream_batches.seq": "BIGINT NOT NULL",
    "flue_conversation_stream_batches.producer_id": f"VARCHAR(128) {BIN} NOT NULL",
    "flue_attachments.stream_path": f"VARCHAR(255) {BIN} NOT NULL",
    "flue_attachments.attachment_id": f"VARCHAR(255) {BIN} NOT NULL",
    "flue_conversation_fold_checkpoints.path": f"VARCHAR(255) {BIN} NOT NULL",
}
LONG = [
    "flue_submission_chunks.data",
    "flue_agent_submissions.payload",
    "flue_agent_submissions.error",
    "flue_agent_submissions.settlement_record",
    "flue_conversation_streams.identity_json",
    "flue_conversation_stream_batches.data",
    "flue_conversation_fold_checkpoints.data",
]
PRIMARY = {
    "flue_meta": ["key"],
    "flue_agent_submissions": ["sequence"],
    "flue_submission_chunks": ["submission_id", "item_id", "chunk_index"],
    "flue_agent_session_locks": ["session_key"],
    "flue_conversation_streams": ["path"],
    "flue_conversation_stream_batches": ["path", "seq"],
    "flue_conversation_fold_checkpoints": ["path"],
    "flue_attachments": ["stream_path", "attachment_id"],
}
INDEXES = [["status", "sequence"], ["session_key", "status", "sequence"], ["joined_into"]]
_BYTES = {"utf8mb4": 4, "ascii": 1}


def _ddl(table: str) -> str:
    return str(CreateTable(METADATA.tables[table]).compile(dialect=mysql.dialect()))


def _column(name: str) -> str:
    table, column = name.split(".")
    found = re.search(rf"^\t`?{column}`? (.*?),? *$", _ddl(table), re.MULTILINE)
    assert found, name
    return found[1]


@pytest.mark.parametrize(("name", "definition"), EXACT.items(), ids=list(EXACT))
def test_columns_are_exactly_so(name: str, definition: str) -> None:
    assert _column(name) == definition


@pytest.mark.parametrize("name", LONG)
def test_long_columns_have_the_databases_character_set(name: str) -> None:
    assert _column(name) in ("LONGTEXT", "LONGTEXT NOT NULL")


@pytest.mark.parametrize("table", METADATA.tables)
def test_every_table_is_innodb(table: str) -> None:
    assert "ENGINE=InnoDB" in _ddl(table)


@pytest.mark.parametrize(("table", "columns"), PRIMARY.items())
def test_primary_keys(table: str, columns: list[str]) -> None:
    assert [column.name for column in METADATA.tables[table].primary_key.columns] == columns


def test_indexes_and_unique_keys_are_exactly_so() -> None:
    submissions = METADATA.tables["flue_agent_submissions"]
    found = [[column.name for column in index.columns] for index in submissions.indexes if not index.unique]
    assert all(wanted in found for wanted in INDEXES)
    batches = METADATA.tables["flue_conversation_stream_batches"]
    assert _unique(submissions) == [["submission_id"]]
    assert _unique(batches) == [["path", "producer_id", "producer_epoch", "producer_sequence"]]


def _unique(table: object) -> list[list[str]]:
    constraints = table.constraints  # type: ignore[attr-defined]
    return [[column.name for column in found.columns] for found in constraints if isinstance(found, UniqueConstraint)]


@pytest.mark.parametrize("table", METADATA.tables.values(), ids=lambda table: table.name)
def test_no_key_exceeds_what_innodb_indexes(table: object) -> None:
    """3072 bytes, at four bytes per character of utf8mb4 (spec/schema.md §4.8)."""
    keys = [list(table.primary_key.columns)]  # type: ignore[attr-defined]
    keys += [list(index.columns) for index in table.indexes]  # type: ignore[attr-defined]
    keys += [list(found.columns) for found in table.constraints if isinstance(found, UniqueConstraint)]  # type: ignore[attr-defined]
    for columns in keys:
        kinds = [column.type.dialect_impl(mysql.dialect()) for column in columns]
        size = sum(kind.length * _BYTES[kind.charset] if getattr(kind, "length", None) else 8 for kind in kinds)
        assert size <= 3072, [column.name for column in columns]
