"""Every table of the first release.

The definitions are frozen here and do not import the models, which move on. Profiles: spec/schema.md §3 and §4.

Revision ID: flue_0001
Revises:
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from flue_sqla.schema.revision import step

# Begins with "flue_", so that a host's history never has a revision of the same name.
revision = "flue_0001"
down_revision = None
branch_labels = ("flue",)
depends_on = None

# The oldest revision whose release may keep running on this schema.
min_revision = "flue_0001"


def upgrade(context: Any = None) -> None:
    with step(context) as this:
        this.create_missing(tables(this.profile, this.schema))
        this.declare_floor(min_revision)


def downgrade(context: Any = None) -> None:
    with step(context) as this:
        metadata = tables(this.profile, this.schema)
        this.refuse_loss()
        this.drop(metadata)
        this.forget_floor()


def tables(profile: str, schema: str | None) -> sa.MetaData:
    """The tables of one profile, placed in a schema."""
    names = {
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
    if profile != "mysql":  # where every primary key is called PRIMARY, and a name for one is a warning
        names["pk"] = "%(table_name)s_pkey"
    metadata = sa.MetaData(schema=schema, naming_convention=names)
    for define in (_submissions, _conversations, _attachments, _sessions, _journals, _runs, _events, _artifacts):
        define(metadata, profile)
    return metadata


# -- column types ---------------------------------------------------------------------------------------------------------------


def key(length: int) -> Any:
    """A name: TEXT, on MySQL bounded and compared bytewise."""
    return sa.Text().with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb")


def bytewise_key(length: int) -> Any:
    """A name by whose bytes a listing is ordered."""
    varchar = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql").with_variant(varchar, "mysql", "mariadb")


def word(length: int) -> Any:
    """One of a few ASCII words, or a number or time in digits."""
    return sa.Text().with_variant(mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")


def bytewise_word(length: int) -> Any:
    """As ``word``, ordered by its bytes."""
    return word(length).with_variant(sa.Text(collation="C"), "postgresql")


LONG = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
BYTES = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UNSIGNED = BIG.with_variant(mysql.BIGINT(unsigned=True), "mysql", "mariadb")
FLAG = sa.Boolean(create_constraint=False).with_variant(sa.Integer(), "sqlite").with_variant(mysql.TINYINT(1), "mysql", "mariadb")


def column(name: str, kind: Any, **options: Any) -> sa.Column[Any]:
    """A NOT NULL column."""
    return sa.Column(name, kind, nullable=False, **options)


def optional(name: str, kind: Any, **options: Any) -> sa.Column[Any]:
    """A nullable column."""
    return sa.Column(name, kind, nullable=True, **options)


def extra(name: str, kind: Any) -> sa.Column[Any]:
    """A nullable column of ours in a table of Flue's; added where an older writer made the table."""
    return optional(name, kind, info={"ours": True})


def primary(name: str, kind: Any, **options: Any) -> sa.Column[Any]:
    """A column of the primary key."""
    return sa.Column(name, kind, primary_key=True, **{"autoincrement": False, **options})


def table(metadata: sa.MetaData, name: str, *items: Any, **options: Any) -> sa.Table:
    return sa.Table(name, metadata, *items, mysql_engine="InnoDB", mariadb_engine="InnoDB", **options)


def at_least(minimum: int) -> Callable[[str], sa.CheckConstraint]:
    """A check of one column, named as PostgreSQL does."""
    return lambda name: sa.CheckConstraint(f"{name} >= {minimum}" if minimum == 0 else f"{name} > {minimum - 1}", name=name)


not_negative = at_least(0)
positive = at_least(1)

# -- tables ---------------------------------------------------------------------------------------------------------------------


def _submissions(metadata: sa.MetaData, profile: str) -> None:
    submissions = table(
        metadata,
        "flue_agent_submissions",
        sa.Column("sequence", UNSIGNED, sa.Identity(always=True), primary_key=True),
        column("submission_id", key(255)),
        column("session_key", key(512)),
        column("kind", word(16)),
        column("payload", LONG),
        column("status", word(16)),
        column("accepted_at", BIG),
        optional("canonical_ready_at", BIG),
        optional("attempt_id", key(255)),
        optional("input_applied_at", BIG),
        optional("abort_requested_at", BIG),
        optional("started_at", BIG),
        optional("joined_into", key(255)),
        optional("settled_at", BIG),
        optional("error", LONG),
        column("attempt_count", sa.Integer(), server_default=sa.text("0")),
        column("max_attempts", sa.Integer(), server_default=sa.text("10")),
        column("timeout_at", BIG, server_default=sa.text("0")),
        optional("owner_id", key(255)),
        column("lease_expires_at", BIG, server_default=sa.text("0")),
        optional("settlement_record_id", key(512)),
        optional("settlement_record", LONG),
        sa.UniqueConstraint("submission_id"),
        sqlite_autoincrement=True,
    )
    its = submissions.c
    joined = sa.text("joined_into IS NOT NULL")
    sa.Index("flue_agent_submissions_status_sequence_idx", its.status, its.sequence)
    sa.Index("flue_agent_submissions_session_status_sequence_idx", its.session_key, its.status, its.sequence)
    sa.Index("flue_agent_submissions_joined_into_idx", its.joined_into, postgresql_where=joined, sqlite_where=joined)
    if profile == "mysql":
        sa.Index("flue_agent_submissions_queued_lane_idx", its.status, its.session_key, its.sequence)
        sa.Index("flue_agent_submissions_settled_idx", its.status, its.settled_at, its.sequence)
    else:
        queued, settled = sa.text("status = 'queued' AND canonical_ready_at IS NOT NULL"), sa.text("status = 'settled'")
        # On SQLite the status leads although every entry has the same: its planner prefers an equality to a range.
        lane = (its.session_key, its.sequence) if profile == "postgres" else (its.status, its.session_key, its.sequence)
        sa.Index(
            "flue_agent_submissions_queued_lane_idx",
            *lane,
            postgresql_ops={"session_key": 'COLLATE "C"'},
            postgresql_where=queued,
            sqlite_where=queued,
        )
        sa.Index("flue_agent_submissions_settled_idx", its.settled_at, its.sequence, postgresql_where=settled, sqlite_where=settled)
    if profile == "postgres":
        unsettled = sa.text("status <> 'settled'")
        sa.Index("flue_agent_submissions_unsettled_idx", its.session_key, its.sequence, postgresql_where=unsettled)
    table(
        metadata,
        "flue_submission_chunks",
        primary("submission_id", key(255)),
        primary("item_id", key(128)),
        primary("chunk_index", sa.Integer()),
        column("chunk_count", sa.Integer()),
        column("data", LONG),
    )
    if profile == "mysql":
        table(metadata, "flue_agent_session_locks", primary("session_key", key(512)))


def _conversations(metadata: sa.MetaData, profile: str) -> None:
    table(
        metadata,
        "flue_conversation_streams",
        primary("path", key(255)),
        column("identity_json", LONG),
        column("next_offset", BIG, server_default=sa.text("0")),
        optional("producer_id", key(128)),
        column("producer_epoch", BIG, server_default=sa.text("0")),
        column("next_producer_sequence", BIG, server_default=sa.text("0")),
        column("incarnation", key(255)),
    )
    producer_key = (
        "flue_conversation_stream_batches_producer_idx"
        if profile == "mysql"
        else "flue_conversation_stream_batc_path_producer_id_producer_epo_key"
    )
    table(
        metadata,
        "flue_conversation_stream_batches",
        primary("path", key(255)),
        primary("seq", BIG),
        column("producer_id", key(128)),
        column("producer_epoch", BIG),
        column("producer_sequence", BIG),
        column("data", LONG),
        optional("submission_id", key(255)),
        optional("attempt_id", key(255)),
        sa.UniqueConstraint("path", "producer_id", "producer_epoch", "producer_sequence", name=producer_key),
    )
    chunked = profile == "sqlite"
    table(
        metadata,
        "flue_conversation_fold_checkpoints",
        primary("path", key(255)),
        column("head_offset", word(64)),
        column("incarnation", key(255)),
        column("format_version", BIG),
        optional("data", LONG) if chunked else column("data", LONG),
        *((optional("chunk_count", sa.Integer()),) if chunked else ()),
    )
    if not chunked:
        return
    table(
        metadata,
        "flue_conversation_stream_batch_chunks",
        primary("path", key(255)),
        primary("seq", BIG),
        primary("chunk_index", sa.Integer()),
        column("chunk_count", sa.Integer()),
        column("data", LONG),
        not_negative("chunk_index"),
        positive("chunk_count"),
    )
    table(
        metadata,
        "flue_conversation_fold_checkpoint_chunks",
        primary("path", key(255)),
        primary("chunk_index", sa.Integer()),
        column("data", LONG),
        not_negative("chunk_index"),
    )


def _attachments(metadata: sa.MetaData, profile: str) -> None:
    chunked = profile == "sqlite"
    attachments = table(
        metadata,
        "flue_attachments",
        primary("stream_path", key(255)),
        primary("attachment_id", key(255)),
        column("mime_type", key(255)),
        column("byte_size", UNSIGNED),
        column("digest", word(128)),
        column("conversation_id", key(255)),
        column("chunk_count", sa.Integer()) if chunked else column("bytes", BYTES),
        column("created_at", BIG),
    )
    if profile != "mysql":
        attachments.append_constraint(not_negative("byte_size"))
    if not chunked:
        return
    attachments.append_constraint(positive("chunk_count"))
    table(
        metadata,
        "flue_attachment_chunks",
        primary("stream_path", key(255)),
        primary("attachment_id", key(255)),
        primary("chunk_index", sa.Integer()),
        column("bytes", BYTES),
        not_negative("chunk_index"),
        sa.ForeignKeyConstraint(
            ["stream_path", "attachment_id"], [attachments.c.stream_path, attachments.c.attachment_id], ondelete="CASCADE"
        ),
    )


def _sessions(metadata: sa.MetaData, profile: str) -> None:
    table(
        metadata,
        "flue_sessions",
        primary("id", key(512)),
        column("data", LONG),
        extra("leaf_id", key(255)),
        extra("entry_count", sa.Integer()),
        extra("prefix_digest", word(64)),
    )
    entries = table(
        metadata,
        "flue_session_entries",
        primary("session_id", key(512)),
        primary("entry_id", key(255)),
        column("position", sa.Integer()),
        column("data", LONG),
        extra("parent_id", key(255)),
        extra("kind", key(128)),
        extra("digest", word(64)),
    )
    sa.Index("flue_session_entries_session_position_idx", entries.c.session_id, entries.c.position)
    sa.Index(
        "flue_session_entries_session_kind_position_idx",
        entries.c.session_id,
        entries.c.kind,
        entries.c.position,
        postgresql_where=sa.text("kind = 'compaction'"),
        sqlite_where=sa.text("kind = 'compaction'"),
    )
    table(
        metadata,
        "flue_image_chunks",
        primary("owner_kind", key(32)),
        primary("owner_id", key(255)),
        primary("owner_part", key(128)),
        primary("image_id", key(128)),
        primary("chunk_index", sa.Integer()),
        column("chunk_count", sa.Integer()),
        column("data", LONG),
    )
    table(metadata, "flue_agent_session_deletions", primary("session_key", key(512)), column("started_at", BIG))
    receipts = table(
        metadata,
        "flue_agent_dispatch_receipts",
        primary("dispatch_id", key(255)),
        column("accepted_at", BIG),
        extra("kept_until", BIG),
        extra("session_key", key(512)),
    )
    sa.Index("flue_agent_dispatch_receipts_accepted_at_idx", receipts.c.accepted_at)
    sa.Index("flue_agent_dispatch_receipts_kept_until_idx", receipts.c.kept_until)


def _journals(metadata: sa.MetaData, profile: str) -> None:
    table(
        metadata,
        "flue_agent_turn_journals",
        primary("submission_id", key(255)),
        column("session_key", key(512)),
        column("kind", word(16)),
        column("attempt_id", key(255)),
        column("operation_id", key(255)),
        column("turn_id", key(255)),
        column("phase", word(32)),
        column("revision", sa.Integer()),
        column("created_at", BIG),
        column("updated_at", BIG),
        optional("checkpoint_leaf_id", key(255)),
        optional("tool_request_json", LONG),
        optional("stream_key", key(512)),
        optional("stream_consumed_at", BIG),
        column("committed", sa.Integer().with_variant(mysql.TINYINT(1), "mysql", "mariadb"), server_default=sa.text("0")),
        optional("committed_leaf_id", key(255)),
    )
    table(
        metadata,
        "flue_agent_stream_chunks",
        primary("stream_key", key(512)),
        primary("segment_index", sa.Integer()),
        column("body", LONG),
    )
    table(
        metadata,
        "flue_agent_attempt_markers",
        primary("submission_id", key(255)),
        primary("attempt_id", key(255)),
        column("created_at", BIG),
    )


def _runs(metadata: sa.MetaData, profile: str) -> None:
    runs = table(
        metadata,
        "flue_runs",
        primary("run_id", bytewise_key(255)),
        column("workflow_name", key(255)),
        column("status", word(16)),
        column("started_at", bytewise_word(64)),
        optional("payload", LONG),
        optional("traceparent", word(255)),
        optional("tracestate", LONG),
        optional("ended_at", word(64)),
        optional("is_error", FLAG),
        optional("duration_ms", sa.Integer().with_variant(mysql.BIGINT(), "mysql", "mariadb")),
        optional("result", LONG),
        optional("error", LONG),
    )
    newest_first = (runs.c.started_at.desc(), runs.c.run_id.desc())
    sa.Index("flue_runs_started_idx", *newest_first)
    sa.Index("flue_runs_status_started_idx", runs.c.status, *newest_first)
    sa.Index("flue_runs_workflow_started_idx", runs.c.workflow_name, *newest_first)
    sa.Index("flue_runs_workflow_status_started_idx", runs.c.workflow_name, runs.c.status, *newest_first)
    sa.Index("flue_runs_status_ended_idx", runs.c.status, runs.c.ended_at)


def _events(metadata: sa.MetaData, profile: str) -> None:
    table(
        metadata,
        "flue_event_streams",
        primary("path", key(512)),
        column("next_offset", BIG, server_default=sa.text("0")),
        column("closed", FLAG, server_default=sa.false()),
    )
    entries = table(
        metadata,
        "flue_event_stream_entries",
        primary("path", key(512)),
        primary("seq", BIG),
        column("data", LONG),
        optional("event_key", key(255)),
    )
    keyed = sa.text("event_key IS NOT NULL")
    sa.Index(
        "flue_event_stream_entries_path_event_key_idx",
        entries.c.path,
        entries.c.event_key,
        unique=True,
        postgresql_where=keyed,
        sqlite_where=keyed,
    )


def _artifacts(metadata: sa.MetaData, profile: str) -> None:
    artifacts = table(
        metadata,
        "flue_artifacts",
        primary("id", bytewise_key(255)),
        column("tenant", bytewise_key(255)),
        column("name", LONG),
        optional("content_type", key(255)),
        column("size", BIG),
        column("sha256", word(64)),
        column("storage_key", key(512)),
        optional("store", key(255)),
        column("state", word(16)),
        optional("metadata_json", LONG),
        optional("run_id", bytewise_key(255)),
        optional("submission_id", bytewise_key(255)),
        column("created_at", BIG),
        optional("deleted_at", BIG),
        sa.UniqueConstraint("tenant", "id"),
        sa.UniqueConstraint("storage_key"),
    )
    its = artifacts.c
    sa.Index("flue_artifacts_tenant_created_idx", its.tenant, its.created_at, its.id)
    sa.Index("flue_artifacts_tenant_run_created_idx", its.tenant, its.run_id, its.created_at, its.id)
    sa.Index("flue_artifacts_tenant_submission_created_idx", its.tenant, its.submission_id, its.created_at, its.id)
    sa.Index("flue_artifacts_state_idx", its.state)
