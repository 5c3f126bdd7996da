"""Rows for every table, written by plain statements so that nothing under test made them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from flue_sqla.models import metadata_for

if TYPE_CHECKING:
    from flue_sqla import Flue

Rows = list[dict[str, Any]]

LONG_BATCH = json.dumps([{"type": "message", "text": "x" * 700_000 + "🤖" * 300_000}], ensure_ascii=False, separators=(",", ":"))
LONG_CHECKPOINT = json.dumps({"state": "y" * 1_300_000})
LONG_BYTES = bytes(range(256)) * 5000  # three chunks, the last one short
TEXT_PART = 524_288
BYTES_PART = 524_288


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sample() -> dict[str, Rows]:
    """Logical rows by table: every column of every table has a value somewhere, and a NULL wherever it may."""
    return {
        "flue_agent_submissions": [_submission(3, "sub_a", "settled"), _submission(5, "sub_b", "queued"), _full_submission(9, "sub_c")],
        "flue_submission_chunks": [
            {"submission_id": "sub_b", "item_id": "0", "chunk_index": index, "chunk_count": 2, "data": "QUJD"} for index in (0, 1)
        ],
        "flue_conversation_streams": [_stream("agents/a/i1"), _stream("agents/a/i2", producer_id=None), _stream("agents/ä/😀")],
        "flue_conversation_stream_batches": [
            _batch("agents/a/i1", 0, '[{"n":1,"nul":"\\u0000","quote":"\\""}]'),
            _batch("agents/a/i1", 1, LONG_BATCH),
            _batch("agents/ä/😀", 0, "[]", submission_id=None, attempt_id=None),
        ],
        "flue_conversation_fold_checkpoints": [
            {"path": path, "head_offset": "0000000000000001_0000000000000000", "incarnation": "inc", "format_version": 3, "data": data}
            for path, data in (("agents/a/i1", LONG_CHECKPOINT), ("agents/a/i2", "{}"))
        ],
        "flue_attachments": [
            _attachment("att_empty", b""),
            _attachment("att_kept", b"abc") | {"bytes": b""},
            _attachment("att_long", LONG_BYTES),
            _attachment("att_short", b"\0\xff"),
        ],
        "flue_sessions": [
            {"id": "ses_1", "data": '{"version":1}', "leaf_id": "e2", "entry_count": 2, "prefix_digest": "d" * 64},
            {"id": "ses_2", "data": "{}", "leaf_id": None, "entry_count": None, "prefix_digest": None},
        ],
        "flue_session_entries": [
            _entry("ses_1", "e1", 0, parent_id=None, kind=None, digest=None),
            _entry("ses_1", "e2", 1, parent_id="e1", kind="message", digest="e" * 64),
        ],
        "flue_image_chunks": [
            {"owner_kind": "session_entry", "owner_id": "ses_1", "owner_part": "e1", "image_id": "0", "chunk_index": 0, "chunk_count": 1}
            | {"data": "QQ=="}
        ],
        "flue_agent_turn_journals": [_journal("sub_b", full=False), _journal("sub_c", full=True)],
        "flue_agent_stream_chunks": [{"stream_key": "s", "segment_index": index, "body": f"[{index}]"} for index in (0, 1, 10)],
        "flue_agent_session_deletions": [{"session_key": _key("gone"), "started_at": 17}],
        "flue_agent_dispatch_receipts": [
            {"dispatch_id": "d1", "accepted_at": 1, "kept_until": None, "session_key": None},
            {"dispatch_id": "d2", "accepted_at": 2, "kept_until": 2**53 - 1, "session_key": _key("gone")},
        ],
        "flue_agent_attempt_markers": [{"submission_id": "sub_c", "attempt_id": "att_1", "created_at": 5}],
        "flue_runs": [_run("run_1", full=False), _run("run_2", full=True)],
        "flue_event_streams": [
            {"path": "runs/run_1", "next_offset": 2, "closed": True},
            {"path": "runs/run_2", "closed": False} | {"next_offset": 0},
        ],
        "flue_event_stream_entries": [
            {"path": "runs/run_1", "seq": 0, "data": "{}", "event_key": None},
            {"path": "runs/run_1", "seq": 1, "data": '{"é":1}', "event_key": "once"},
        ],
        "flue_artifacts": [
            _artifact("art_1", "default", full=False),
            _artifact("art_2", "tenant b", full=True),
            _artifact("art_3", "-attachments", full=False),
        ],
        "flue_offloaded_attachments": [{"stream_path": "agents/a/i1", "attachment_id": "att_kept", "artifact_id": "art_3"}],
    }


def small() -> dict[str, Rows]:
    """The same without what is long enough to be cut."""
    long = (LONG_BATCH, LONG_CHECKPOINT, LONG_BYTES)
    return {table: [row for row in rows if not any(value in long for value in row.values())] for table, rows in sample().items()}


def _key(name: str) -> str:
    return f'agent-session:["{name}","i","default","default"]'


def _submission(sequence: int, submission_id: str, status: str, **more: Any) -> dict[str, Any]:
    times = ("canonical_ready_at", "input_applied_at", "abort_requested_at", "started_at", "settled_at")
    texts = ("attempt_id", "joined_into", "error", "owner_id", "settlement_record_id", "settlement_record")
    empty = dict.fromkeys([*times, *texts])
    given = {"sequence": sequence, "submission_id": submission_id, "session_key": _key(submission_id), "kind": "direct"}
    counted = {"attempt_count": 0, "max_attempts": 10, "timeout_at": 0, "lease_expires_at": 0, "accepted_at": 1_700_000_000_000}
    return {**empty, **given, **counted, "payload": '{"message":"hé"}', "status": status, **more}


def _full_submission(sequence: int, submission_id: str) -> dict[str, Any]:
    times = {"canonical_ready_at": 2, "input_applied_at": 3, "abort_requested_at": 4, "started_at": 5, "settled_at": 6, "timeout_at": 7}
    texts = {"attempt_id": "att_1", "joined_into": "sub_b", "error": "went\twrong\nbadly \\", "owner_id": "o", "settlement_record_id": "r"}
    return _submission(
        sequence, submission_id, "joined", **times, **texts, lease_expires_at=8, settlement_record='{"a":1}', attempt_count=3
    )


def _stream(path: str, producer_id: str | None = "p") -> dict[str, Any]:
    return {"path": path, "identity_json": '{"agentName":"a"}', "next_offset": 2, "producer_id": producer_id, "producer_epoch": 1} | {
        "next_producer_sequence": 2,
        "incarnation": "inc",
    }


def _batch(path: str, seq: int, data: str, submission_id: str | None = "sub_b", attempt_id: str | None = "att_1") -> dict[str, Any]:
    who = {"producer_id": "p", "producer_epoch": 1, "producer_sequence": seq}
    return {"path": path, "seq": seq, **who, "data": data, "submission_id": submission_id, "attempt_id": attempt_id}


def _attachment(attachment_id: str, data: bytes) -> dict[str, Any]:
    known = {"mime_type": "image/png", "byte_size": len(data), "digest": sha256(data), "conversation_id": "c", "created_at": 3}
    return {"stream_path": "agents/a/i1", "attachment_id": attachment_id, "bytes": data, **known}


def _entry(session_id: str, entry_id: str, position: int, **more: Any) -> dict[str, Any]:
    return {"session_id": session_id, "entry_id": entry_id, "position": position, "data": "{}", **more}


def _journal(submission_id: str, *, full: bool) -> dict[str, Any]:
    known = {"submission_id": submission_id, "session_key": _key("a"), "kind": "direct", "attempt_id": "att_1", "operation_id": "op"}
    known |= {"turn_id": "t", "phase": "model", "revision": 2, "created_at": 1, "updated_at": 2, "committed": int(full)}
    optional = {"checkpoint_leaf_id": "l", "tool_request_json": "{}", "stream_key": "s", "stream_consumed_at": 4, "committed_leaf_id": "l"}
    return known | (optional if full else dict.fromkeys(optional))


def _run(run_id: str, *, full: bool) -> dict[str, Any]:
    known = {"run_id": run_id, "workflow_name": "w", "status": "running", "started_at": "2026-01-01T00:00:00.000Z"}
    optional = {"payload": "{}", "traceparent": "00-a", "tracestate": "x=y", "ended_at": "2026-01-01T00:00:01.000Z", "is_error": False}
    optional |= {"duration_ms": 1000, "result": "null", "error": '{"message":"no"}'}
    return known | (optional if full else dict.fromkeys(optional))


def _artifact(artifact_id: str, tenant: str, *, full: bool) -> dict[str, Any]:
    folder = tenant.replace(" ", "_20")
    known = {"id": artifact_id, "tenant": tenant, "name": "../é", "size": 3, "sha256": sha256(b"abc"), "created_at": 4}
    known |= {"storage_key": f"{folder}/{artifact_id}", "state": "deleting" if full else "stored"}
    optional = {"content_type": "text/plain", "store": "file-1", "metadata_json": "{}", "run_id": "run_1", "submission_id": "sub_a"}
    return known | ({**optional, "deleted_at": 9} if full else {**dict.fromkeys(optional), "deleted_at": None})


def insert(engine: sa.Engine, rows: dict[str, Rows]) -> None:
    """Write logical rows into a database of any kind, in the layout of its profile."""
    with engine.begin() as connection:
        insert_on(connection, rows)


def insert_on(connection: sa.Connection, rows: dict[str, Rows]) -> None:
    """The same on a connection."""
    dialect = connection.dialect.name
    metadata = metadata_for(dialect)
    for table_name, logical in rows.items():
        for table, physical in _physical(dialect, table_name, logical):
            if table == "flue_agent_submissions" and dialect == "postgresql":
                _override_identity(connection, physical)
            elif physical:
                connection.execute(sa.insert(metadata.tables[table]), physical)


def insert_elsewhere(flue: Flue, schema: str) -> None:
    """The small sample into a schema of its own."""
    with flue.engine.begin() as connection:
        quoted = schema.replace('"', '""').replace("%", "%%")
        connection.exec_driver_sql(f'SET LOCAL search_path TO "{quoted}"')
        insert_on(connection, small())


def _override_identity(connection: sa.Connection, rows: Rows) -> None:
    for row in rows:
        names = list(row)
        values = ", ".join(f":{name}" for name in names)
        statement = f"INSERT INTO flue_agent_submissions ({', '.join(names)}) OVERRIDING SYSTEM VALUE VALUES ({values})"
        connection.execute(sa.text(statement), row)


def _physical(dialect: str, table: str, rows: Rows) -> list[tuple[str, Rows]]:
    if dialect != "sqlite":
        return [(table, rows)]
    if table == "flue_attachments":
        return [(table, [_without(row, "bytes", chunk_count=len(_cut(row["bytes"]))) for row in rows]), *_attachment_chunks(rows)]
    if table == "flue_conversation_stream_batches":
        return _spilled_batches(rows)
    if table == "flue_conversation_fold_checkpoints":
        return _spilled_checkpoints(rows)
    return [(table, rows)]


def _without(row: dict[str, Any], name: str, **more: Any) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name} | more


def _cut(data: bytes) -> list[bytes]:
    return [data[start : start + BYTES_PART] for start in range(0, max(1, len(data)), BYTES_PART)]


def _attachment_chunks(rows: Rows) -> list[tuple[str, Rows]]:
    keys = ("stream_path", "attachment_id")
    pieces = [
        {**{key: row[key] for key in keys}, "chunk_index": index, "bytes": piece}
        for row in rows
        for index, piece in enumerate(_cut(row["bytes"]))
    ]
    return [("flue_attachment_chunks", pieces)]


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def text_parts(text: str) -> list[str]:
    """Parts of TEXT_PART UTF-16 units, one more where a surrogate pair would be cut (spec/streams.md §3.6)."""
    parts, current, length = [], [], 0
    for letter in text:
        current.append(letter)
        length += 2 if ord(letter) > 0xFFFF else 1
        if length >= TEXT_PART:
            parts.append("".join(current))
            current, length = [], 0
    return [*parts, "".join(current)] if current else parts


def _spilled_batches(rows: Rows) -> list[tuple[str, Rows]]:
    parents, pieces = [], []
    for row in rows:
        if units(row["data"]) <= 2 * TEXT_PART:
            parents.append(row)
            continue
        parts = text_parts(row["data"])
        parents.append({**row, "data": f'{{"$flueChunkCount":{len(parts)}}}'})
        pieces += [
            {"path": row["path"], "seq": row["seq"], "chunk_index": index, "chunk_count": len(parts), "data": part}
            for index, part in enumerate(parts)
        ]
    return [("flue_conversation_stream_batches", parents), ("flue_conversation_stream_batch_chunks", pieces)]


def _spilled_checkpoints(rows: Rows) -> list[tuple[str, Rows]]:
    parents, pieces = [], []
    for row in rows:
        parts = text_parts(row["data"]) if units(row["data"]) > 2 * TEXT_PART else []
        parents.append({**row, "data": None if parts else row["data"], "chunk_count": len(parts) or None})
        pieces += [{"path": row["path"], "chunk_index": index, "data": part} for index, part in enumerate(parts)]
    return [("flue_conversation_fold_checkpoints", parents), ("flue_conversation_fold_checkpoint_chunks", pieces)]


def physical_rows(engine: sa.Engine) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table of ours as it is stored, to compare a database with itself."""
    found = {}
    with engine.connect() as connection:
        for table in metadata_for(engine.dialect.name).sorted_tables:
            result = connection.execute(sa.select(*table.c))
            found[table.name] = sorted((tuple(row) for row in result), key=repr)
    return found
