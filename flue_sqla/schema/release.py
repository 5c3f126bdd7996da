"""What this release knows about schemas. The revision constants are held against the scripts by a test.

Constants instead of Alembic's script directory, so that booting on a current database imports and reads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = [
    "ADOPTED_KEY",
    "BRANCH",
    "FLOOR_KEY",
    "FLUE_TABLES",
    "FORMAT_KEY",
    "FORMAT_VERSION",
    "HEAD",
    "LEGACY_KEY",
    "LEGACY_RENAMED",
    "META_TABLE",
    "REVISIONS",
    "REVISION_PREFIX",
    "VERSION_TABLE",
]

FORMAT_VERSION: Final = 1
"""The stamp that this release reads and writes (spec/schema.md §2)."""

META_TABLE: Final = "flue_meta"
FORMAT_KEY: Final = "format_version"
LEGACY_KEY: Final = "schema_version"
LEGACY_RENAMED: Final = "8"
"""The one value of the legacy key that is adopted, by renaming the row (spec/schema.md §2.1, row 3)."""

FLOOR_KEY: Final = "flue_sqla_min_revision"
"""Row of ``flue_meta``: the oldest revision whose release may keep running on the schema as it is."""
ADOPTED_KEY: Final = "flue_sqla_adopted"
"""Row of ``flue_meta``: the tables were there before our first revision, so a Flue server may be using them."""

VERSION_TABLE: Final = "flue_alembic_version"
BRANCH: Final = "flue"
"""Label of our revisions in a host's history."""
REVISION_PREFIX: Final = "flue_"
"""Every revision of ours begins with it, so that it is told from a host's in one version table."""
REVISIONS: Final = ("flue_0001", "flue_0002")
"""Every revision that this release knows, oldest first."""
HEAD: Final = REVISIONS[-1]

_SHARED = frozenset(
    {
        "flue_agent_submissions",
        "flue_submission_chunks",
        "flue_conversation_streams",
        "flue_conversation_stream_batches",
        "flue_conversation_fold_checkpoints",
        "flue_attachments",
    }
)
FLUE_TABLES: Final[Mapping[str, frozenset[str]]] = {
    "postgres": _SHARED,
    "mysql": _SHARED | {"flue_agent_session_locks"},
    "sqlite": _SHARED | {"flue_conversation_stream_batch_chunks", "flue_conversation_fold_checkpoint_chunks", "flue_attachment_chunks"},
}
"""What a Flue 2.x server creates besides ``flue_meta``, by profile (spec/schema.md §4.10)."""
