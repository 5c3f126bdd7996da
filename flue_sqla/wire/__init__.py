"""Every format that a Flue 2.x Node server shares with us, produced and parsed in one place (spec/streams.md §1, §5, §6.3).

Nothing here touches a database. Byte-exactness is the point: Node compares several of these texts as text.
"""

from __future__ import annotations

from flue_sqla.wire.addresses import (
    SessionAddress,
    agent_prefix,
    format_offset,
    parse_offset,
    parse_session_key,
    prefix_end,
    run_path,
    session_key,
    stream_path,
)
from flue_sqla.wire.canonical import MAX_SAFE_INTEGER, canonical_json, parse_json, require_integer, require_storable, utf16_length
from flue_sqla.wire.cursors import RunCursor, decode_run_cursor, encode_run_cursor
from flue_sqla.wire.ids import (
    advisory_entry_id,
    advisory_record_id,
    b64,
    birth_record_id,
    child_retained_record_id,
    input_entry_id,
    input_record_id,
    keyed_submission_id,
    recovery_aborted_record_id,
    recovery_block_record_id,
    recovery_signal_entry_id,
    recovery_signal_record_id,
    settlement_record_id,
    tool_commit_record_id,
    tool_outcome_record_id,
    tool_repair_commit_record_id,
    tool_repair_outcome_record_id,
    tool_result_entry_id,
    tool_step_record_id,
)
from flue_sqla.wire.timestamps import format_timestamp, parse_timestamp
from flue_sqla.wire.ulid import ULID_PATTERN, new_id

__all__ = [
    "MAX_SAFE_INTEGER",
    "ULID_PATTERN",
    "RunCursor",
    "SessionAddress",
    "advisory_entry_id",
    "advisory_record_id",
    "agent_prefix",
    "b64",
    "birth_record_id",
    "canonical_json",
    "child_retained_record_id",
    "decode_run_cursor",
    "encode_run_cursor",
    "format_offset",
    "format_timestamp",
    "input_entry_id",
    "input_record_id",
    "keyed_submission_id",
    "new_id",
    "parse_json",
    "parse_offset",
    "parse_session_key",
    "parse_timestamp",
    "prefix_end",
    "recovery_aborted_record_id",
    "recovery_block_record_id",
    "recovery_signal_entry_id",
    "recovery_signal_record_id",
    "require_integer",
    "require_storable",
    "run_path",
    "session_key",
    "settlement_record_id",
    "stream_path",
    "tool_commit_record_id",
    "tool_outcome_record_id",
    "tool_repair_commit_record_id",
    "tool_repair_outcome_record_id",
    "tool_result_entry_id",
    "tool_step_record_id",
    "utf16_length",
]
