"""What a put asks for, checked before a byte is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flue_sqla.artifacts.keys import storage_key
from flue_sqla.errors import ArtifactIntegrityError, ArtifactTooLargeError, InvalidInputError
from flue_sqla.records.artifact import Artifact
from flue_sqla.wire import canonical_json, new_id, parse_json, require_storable

__all__ = ["PutRequest"]

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_CONTENT_TYPE = re.compile(r"[\x20-\x7e]+\Z")
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class PutRequest:
    """One artifact to be: its final id and key are chosen before its bytes are sent."""

    id: str
    key: str
    tenant: str
    name: str
    content_type: str | None
    run_id: str | None
    submission_id: str | None
    metadata: dict[str, Any] | None
    expected_sha256: str | None
    max_bytes: int | None
    created_at: int

    @classmethod
    def checked(
        cls,
        *,
        name: str,
        content_type: str | None,
        tenant: str,
        run_id: str | None,
        submission_id: str | None,
        metadata: Mapping[str, Any] | None,
        expected_sha256: str | None,
        max_bytes: int | None,
        now: int,
    ) -> PutRequest:
        """The request for these arguments of ``put``.

        Raises:
            InvalidInputError: one of them cannot be stored faithfully on every database.
        """
        _check_text("name", name, None)
        _check_text("tenant", tenant, _LONGEST)
        for field, value in {"content_type": content_type, "run_id": run_id, "submission_id": submission_id}.items():
            if value is not None:
                _check_text(field, value, _LONGEST)
        if content_type is not None and not _CONTENT_TYPE.match(content_type):
            raise InvalidInputError("A content type must be visible ASCII.", meta={"field": "content_type"})
        expected = expected_sha256.lower() if expected_sha256 is not None else None
        if expected is not None and not _SHA256.match(expected):
            raise InvalidInputError("expected_sha256 must be 64 hex digits.", meta={"field": "expected_sha256"})
        if max_bytes is not None and max_bytes < 0:
            raise InvalidInputError("max_bytes must not be negative.", meta={"field": "max_bytes"})
        kept = dict(metadata) if metadata is not None else None
        if kept is not None and parse_json(canonical_json(kept)) != kept:
            raise InvalidInputError(
                "metadata does not survive as JSON.", meta={"field": "metadata"}, remedy="Use JSON values and text keys."
            )
        artifact_id = new_id("art")
        return cls(
            artifact_id,
            storage_key(tenant, artifact_id),
            tenant,
            name,
            content_type,
            run_id,
            submission_id,
            kept,
            expected,
            max_bytes,
            now,
        )

    def check_size(self, size: int) -> None:
        """Refuse a stream that has reached ``size`` bytes, or will.

        Raises:
            ArtifactTooLargeError: it exceeds ``max_bytes``.
        """
        if self.max_bytes is not None and size > self.max_bytes:
            raise ArtifactTooLargeError(
                f"The source has more than {self.max_bytes} bytes.",
                meta={"maxBytes": self.max_bytes},
                remedy="Store less, or raise max_bytes.",
            )

    def check_digest(self, sha256: str) -> None:
        """Refuse bytes that are not the expected ones.

        Raises:
            ArtifactIntegrityError: the digest is not ``expected_sha256``.
        """
        if self.expected_sha256 is not None and sha256 != self.expected_sha256:
            raise ArtifactIntegrityError(
                "The source does not have the expected digest; nothing was stored.",
                meta={"expectedSha256": self.expected_sha256, "sha256": sha256},
                remedy="Read the source again, or correct expected_sha256.",
            )

    def artifact(self, size: int, sha256: str) -> Artifact:
        """The row of the stored bytes."""
        return Artifact(
            id=self.id,
            tenant=self.tenant,
            name=self.name,
            content_type=self.content_type,
            size=size,
            sha256=sha256,
            metadata=self.metadata,
            run_id=self.run_id,
            submission_id=self.submission_id,
            created_at=self.created_at,
            storage_key=self.key,
        )


def _check_text(field: str, value: str, longest: int | None) -> None:
    if not require_storable(value, field):
        raise InvalidInputError(f"{field} is empty.", meta={"field": field})
    if longest is not None and len(value) > longest:
        raise InvalidInputError(f"{field} has {len(value)} characters; at most {longest} can be stored.", meta={"field": field})
