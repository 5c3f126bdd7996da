"""Artifacts: what is known about bytes that lie in the object store."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from flue_sqla.records.base import Record

__all__ = ["Artifact", "ArtifactPage", "SweepReport", "TransferReport", "VerifyFinding", "VerifyReport"]


class Artifact(Record):
    """One stored artifact. ``size`` in bytes, ``sha256`` in 64 lower-case hex digits, ``created_at`` in epoch milliseconds.

    ``storage_key`` is the object's name below the root of its store; ``store`` names a store other than the configured one, which a
    transfer moved the bytes to.
    """

    id: str
    tenant: str
    name: str
    content_type: str | None = None
    size: int
    sha256: str
    metadata: dict[str, Any] | None = None
    run_id: str | None = None
    submission_id: str | None = None
    created_at: int
    storage_key: str = Field(repr=False)
    store: str | None = Field(default=None, repr=False)


class ArtifactPage(Record):
    """Some artifacts in the order of their creation. ``next_cursor`` continues the listing; None at its end."""

    artifacts: list[Artifact]
    next_cursor: str | None = None


class VerifyFinding(Record):
    """An artifact whose bytes are not what was stored, or cannot be read here.

    ``reason`` is ``missing``, ``corrupt``, ``unreadable``, or ``moved``: the row names another store than the configured one.
    """

    id: str
    tenant: str
    storage_key: str
    reason: str


class VerifyReport(Record):
    """What ``verify`` found. ``cursor`` continues after the last artifact that was checked; None when all were."""

    wire_nulls: ClassVar[frozenset[str]] = frozenset({"cursor"})

    checked: int
    bytes_read: int
    findings: list[VerifyFinding]
    cursor: str | None = None

    @property
    def ok(self) -> bool:
        """Whether every artifact that was checked is intact."""
        return not self.findings


class SweepReport(Record):
    """What ``sweep`` found, and with ``repair`` also did.

    ``orphans``: keys of bytes without a row, older than the grace time. ``missing``: ids of rows without bytes. ``deleting``: ids of
    deletions that had been left half done. ``busy``: keys that another transaction holds, left for the next sweep. ``foreign``: how many
    objects no put can have made; they are left alone. ``uploads``: unfinished uploads discarded; None where the store cannot tell.
    """

    wire_nulls: ClassVar[frozenset[str]] = frozenset({"uploads"})

    repaired: bool
    orphans: list[str]
    missing: list[str]
    deleting: list[str]
    busy: list[str]
    foreign: int = 0
    uploads: int | None = None

    @property
    def clean(self) -> bool:
        """Whether store and rows agree."""
        return not (self.orphans or self.missing or self.deleting or self.busy)


class TransferReport(Record):
    """What a transfer did. ``present``: artifacts whose bytes the target had already. ``switched``: the rows now name the target."""

    artifacts: int
    copied: int
    copied_bytes: int
    present: int
    switched: bool
