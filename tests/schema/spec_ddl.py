"""The tables of spec/schema.md §3, written out by hand as a Flue 2.x server creates them: nothing here comes from the models."""

from __future__ import annotations

POSTGRES = """
CREATE TABLE flue_agent_submissions (
  sequence BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  submission_id TEXT NOT NULL UNIQUE,
  session_key TEXT NOT NULL,
  kind TEXT NOT NULL,
  payload TEXT NOT NULL,
  status TEXT NOT NULL,
  accepted_at BIGINT NOT NULL,
  canonical_ready_at BIGINT,
  attempt_id TEXT,
  input_applied_at BIGINT,
  abort_requested_at BIGINT,
  started_at BIGINT,
  joined_into TEXT,
  settled_at BIGINT,
  error TEXT,
  attempt_count INTEGER NOT NULL DEFAULT 0,
  max_attempts INTEGER NOT NULL DEFAULT 10,
  timeout_at BIGINT NOT NULL DEFAULT 0,
  owner_id TEXT,
  lease_expires_at BIGINT NOT NULL DEFAULT 0,
  settlement_record_id TEXT,
  settlement_record TEXT
);
CREATE INDEX flue_agent_submissions_status_sequence_idx ON flue_agent_submissions (status, sequence ASC);
CREATE INDEX flue_agent_submissions_session_status_sequence_idx ON flue_agent_submissions (session_key, status, sequence ASC);
CREATE INDEX flue_agent_submissions_joined_into_idx ON flue_agent_submissions (joined_into) WHERE joined_into IS NOT NULL;
CREATE TABLE flue_submission_chunks (
  submission_id TEXT NOT NULL,
  item_id TEXT NOT NULL,
  chunk_index INTEGER NOT NULL,
  chunk_count INTEGER NOT NULL,
  data TEXT NOT NULL,
  PRIMARY KEY (submission_id, item_id, chunk_index)
);
CREATE TABLE flue_conversation_streams (
  path TEXT PRIMARY KEY,
  identity_json TEXT NOT NULL,
  next_offset BIGINT NOT NULL DEFAULT 0,
  producer_id TEXT,
  producer_epoch BIGINT NOT NULL DEFAULT 0,
  next_producer_sequence BIGINT NOT NULL DEFAULT 0,
  incarnation TEXT NOT NULL
);
CREATE TABLE flue_conversation_stream_batches (
  path TEXT NOT NULL,
  seq BIGINT NOT NULL,
  producer_id TEXT NOT NULL,
  producer_epoch BIGINT NOT NULL,
  producer_sequence BIGINT NOT NULL,
  data TEXT NOT NULL,
  submission_id TEXT,
  attempt_id TEXT,
  PRIMARY KEY (path, seq),
  UNIQUE (path, producer_id, producer_epoch, producer_sequence)
);
CREATE TABLE flue_conversation_fold_checkpoints (
  path TEXT PRIMARY KEY,
  head_offset TEXT NOT NULL,
  incarnation TEXT NOT NULL,
  format_version BIGINT NOT NULL,
  data TEXT NOT NULL
);
CREATE TABLE flue_attachments (
  stream_path TEXT NOT NULL,
  attachment_id TEXT NOT NULL,
  mime_type TEXT NOT NULL,
  byte_size BIGINT NOT NULL CHECK (byte_size >= 0),
  digest TEXT NOT NULL,
  conversation_id TEXT NOT NULL,
  bytes BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (stream_path, attachment_id)
)
"""

SQLITE = """
CREATE TABLE flue_agent_submissions (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  submission_id TEXT NOT NULL UNIQUE,
  session_key TEXT NOT NULL,
  kind TEXT NOT NULL,
  payload TEXT NOT NULL,
  status TEXT NOT NULL,
  accepted_at INTEGER NOT NULL,
  canonical_ready_at INTEGER,
  attempt_id TEXT,
  input_applied_at INTEGER,
  abort_requested_at INTEGER,
  started_at INTEGER,
  joined_into TEXT,
  settled_at INTEGER,
  error TEXT,
  attempt_count INTEGER NOT NULL DEFAULT 0,
  max_attempts INTEGER NOT NULL DEFAULT 10,
  timeout_at INTEGER NOT NULL DEFAULT 0,
  owner_id TEXT,
  lease_expires_at INTEGER NOT NULL DEFAULT 0,
  settlement_record_id TEXT,
  settlement_record TEXT
);
CREATE INDEX flue_agent_submissions_status_sequence_idx ON flue_agent_submissions (status, sequence ASC);
CREATE INDEX flue_agent_submissions_session_status_sequence_idx ON flue_agent_submissions (session_key, status, sequence ASC);
CREATE INDEX flue_agent_submissions_joined_into_idx ON flue_agent_submissions (joined_into) WHERE joined_into IS NOT NULL;
CREATE TABLE flue_submission_chunks (
  submission_id TEXT NOT NULL,
  item_id TEXT NOT NULL,
  chunk_index INTEGER NOT NULL,
  chunk_count INTEGER NOT NULL,
  data TEXT NOT NULL,
  PRIMARY KEY (submission_id, item_id, chunk_index)
);
CREATE TABLE flue_conversation_streams (
  path TEXT PRIMARY KEY,
  identity_json TEXT NOT NULL,
  next_offset INTEGER NOT NULL DEFAULT 0,
  producer_id TEXT,
  producer_epoch INTEGER NOT NULL DEFAULT 0,
  next_producer_sequence INTEGER NOT NULL DEFAULT 0,
  incarnation TEXT NOT NULL
);
CREATE TABLE flue_conversation_stream_batches (
  path TEXT NOT NULL,
  seq INTEGER NOT NULL,
  producer_id TEXT NOT NULL,
  producer_epoch INTEGER NOT NULL,
  producer_sequence INTEGER NOT NULL,
  data TEXT NOT NULL,
  submission_id TEXT,
  attempt_id TEXT,
  PRIMARY KEY (path, seq),
  UNIQUE (path, producer_id, producer_epoch, producer_sequence)
);
CREATE TABLE flue_conversation_stream_batch_chunks (
  path TEXT NOT NULL,
  seq INTEGER NOT NULL,
  chunk_index INTEGER NOT NULL CHECK (chunk_index >= 0),
  chunk_count INTEGER NOT NULL CHECK (chunk_count > 0),
  data TEXT NOT NULL,
  PRIMARY KEY (path, seq, chunk_index)
);
CREATE TABLE flue_conversation_fold_checkpoints (
  path TEXT PRIMARY KEY,
  head_offset TEXT NOT NULL,
  incarnation TEXT NOT NULL,
  format_version INTEGER NOT NULL,
  data TEXT,
  chunk_count INTEGER
);
CREATE TABLE flue_conversation_fold_checkpoint_chunks (
  path TEXT NOT NULL,
  chunk_index INTEGER NOT NULL CHECK (chunk_index >= 0),
  data TEXT NOT NULL,
  PRIMARY KEY (path, chunk_index)
);
CREATE TABLE flue_attachments (
  stream_path TEXT NOT NULL,
  attachment_id TEXT NOT NULL,
  mime_type TEXT NOT NULL,
  byte_size INTEGER NOT NULL CHECK (byte_size >= 0),
  digest TEXT NOT NULL,
  conversation_id TEXT NOT NULL,
  chunk_count INTEGER NOT NULL CHECK (chunk_count > 0),
  created_at INTEGER NOT NULL,
  PRIMARY KEY (stream_path, attachment_id)
);
CREATE TABLE flue_attachment_chunks (
  stream_path TEXT NOT NULL,
  attachment_id TEXT NOT NULL,
  chunk_index INTEGER NOT NULL CHECK (chunk_index >= 0),
  bytes BLOB NOT NULL,
  PRIMARY KEY (stream_path, attachment_id, chunk_index),
  FOREIGN KEY (stream_path, attachment_id) REFERENCES flue_attachments (stream_path, attachment_id) ON DELETE CASCADE
)
"""

_V = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
_A = "CHARACTER SET ascii COLLATE ascii_bin"

MYSQL = f"""
CREATE TABLE flue_agent_submissions (
  sequence BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  submission_id VARCHAR(255) {_V} NOT NULL UNIQUE,
  session_key VARCHAR(512) {_V} NOT NULL,
  kind VARCHAR(16) {_A} NOT NULL,
  payload LONGTEXT NOT NULL,
  status VARCHAR(16) {_A} NOT NULL,
  accepted_at BIGINT NOT NULL,
  canonical_ready_at BIGINT,
  attempt_id VARCHAR(255) {_V},
  input_applied_at BIGINT,
  abort_requested_at BIGINT,
  started_at BIGINT,
  joined_into VARCHAR(255) {_V},
  settled_at BIGINT,
  error LONGTEXT,
  attempt_count INT NOT NULL DEFAULT 0,
  max_attempts INT NOT NULL DEFAULT 10,
  timeout_at BIGINT NOT NULL DEFAULT 0,
  owner_id VARCHAR(255) {_V},
  lease_expires_at BIGINT NOT NULL DEFAULT 0,
  settlement_record_id VARCHAR(512) {_V},
  settlement_record LONGTEXT,
  INDEX flue_agent_submissions_status_sequence_idx (status, sequence ASC),
  INDEX flue_agent_submissions_session_status_sequence_idx (session_key, status, sequence ASC),
  INDEX flue_agent_submissions_joined_into_idx (joined_into)
) ENGINE=InnoDB;
CREATE TABLE flue_submission_chunks (
  submission_id VARCHAR(255) {_V} NOT NULL,
  item_id VARCHAR(128) {_V} NOT NULL,
  chunk_index INT NOT NULL,
  chunk_count INT NOT NULL,
  data LONGTEXT NOT NULL,
  PRIMARY KEY (submission_id, item_id, chunk_index)
) ENGINE=InnoDB;
CREATE TABLE flue_agent_session_locks (session_key VARCHAR(512) {_V} NOT NULL PRIMARY KEY) ENGINE=InnoDB;
CREATE TABLE flue_conversation_streams (
  path VARCHAR(255) {_V} NOT NULL PRIMARY KEY,
  identity_json LONGTEXT NOT NULL,
  next_offset BIGINT NOT NULL DEFAULT 0,
  producer_id VARCHAR(128) {_V},
  producer_epoch BIGINT NOT NULL DEFAULT 0,
  next_producer_sequence BIGINT NOT NULL DEFAULT 0,
  incarnation VARCHAR(255) {_V} NOT NULL
) ENGINE=InnoDB;
CREATE TABLE flue_conversation_stream_batches (
  path VARCHAR(255) {_V} NOT NULL,
  seq BIGINT NOT NULL,
  producer_id VARCHAR(128) {_V} NOT NULL,
  producer_epoch BIGINT NOT NULL,
  producer_sequence BIGINT NOT NULL,
  data LONGTEXT NOT NULL,
  submission_id VARCHAR(255) {_V},
  attempt_id VARCHAR(255) {_V},
  PRIMARY KEY (path, seq),
  UNIQUE INDEX flue_conversation_stream_batches_producer_idx (path, producer_id, producer_epoch, producer_sequence)
) ENGINE=InnoDB;
CREATE TABLE flue_conversation_fold_checkpoints (
  path VARCHAR(255) {_V} NOT NULL PRIMARY KEY,
  head_offset VARCHAR(64) {_A} NOT NULL,
  incarnation VARCHAR(255) {_V} NOT NULL,
  format_version BIGINT NOT NULL,
  data LONGTEXT NOT NULL
) ENGINE=InnoDB;
CREATE TABLE flue_attachments (
  stream_path VARCHAR(255) {_V} NOT NULL,
  attachment_id VARCHAR(255) {_V} NOT NULL,
  mime_type VARCHAR(255) {_V} NOT NULL,
  byte_size BIGINT UNSIGNED NOT NULL,
  digest VARCHAR(128) {_A} NOT NULL,
  conversation_id VARCHAR(255) {_V} NOT NULL,
  bytes LONGBLOB NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (stream_path, attachment_id)
) ENGINE=InnoDB
"""

LIBSQL = SQLITE.replace(
    "  chunk_count INTEGER NOT NULL CHECK (chunk_count > 0),\n  created_at", "  bytes BLOB NOT NULL,\n  created_at"
).replace("  data TEXT,\n  chunk_count INTEGER\n", "  data TEXT NOT NULL\n")
"""The SQLite file of the libsql adapter (§3.8, §3.9), as far as it matters here."""

META = {
    "postgres": "CREATE TABLE flue_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "sqlite": "CREATE TABLE flue_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "mariadb": f"CREATE TABLE flue_meta (`key` VARCHAR(64) {_V} NOT NULL PRIMARY KEY, value VARCHAR(64) NOT NULL) ENGINE=InnoDB",
}
META["mysql"] = META["mariadb"]

TABLES = {"postgres": POSTGRES, "sqlite": SQLITE, "mariadb": MYSQL, "mysql": MYSQL}


def statements(script: str) -> list[str]:
    """The statements of a script, one by one."""
    return [statement.strip() for statement in script.split(";") if statement.strip()]
