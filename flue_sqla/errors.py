"""Every error this library raises on purpose.

Each class has a stable ``code`` (documented in ``docs/errors.md``), the values involved in ``meta``, a message that says what was
found, and a ``remedy`` that says what to do. An exception of any other class is a bug here or an error of the database driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = [
    "AgentInstanceExistsError",
    "AgentInstanceMissingError",
    "ArtifactConflictError",
    "ArtifactIntegrityError",
    "ArtifactMissingError",
    "ArtifactStoreError",
    "ArtifactTooLargeError",
    "AttachmentConflictError",
    "AttachmentIntegrityError",
    "ConfigurationError",
    "ConversationRecordInvariantError",
    "ConversationStreamStoreError",
    "DatabaseUnavailableError",
    "FlueError",
    "InternalStateError",
    "InvalidInputError",
    "MalformedRowError",
    "MigrationLockTimeout",
    "OutcomeUnknown",
    "PersistedFormatVersionError",
    "ReceiptRetainedError",
    "RequestConflictError",
    "RunMissingError",
    "SchemaPermissionError",
    "SchemaVersionError",
    "SerializationConflict",
    "SessionBusyError",
    "SessionConflictError",
    "SessionDeletionError",
    "SessionMissingError",
    "SnapshotConflictError",
    "SnapshotError",
    "StreamClosedError",
    "StreamMissingError",
    "SubmissionAbortedError",
    "SubmissionConflictError",
    "SubmissionInterruptedError",
    "SubmissionMissingError",
    "SubmissionNotRequeuedError",
    "SubmissionRetryExhaustedError",
    "SubmissionTimeoutError",
    "TransientError",
    "ValueTooLargeError",
    "WaitTimeoutError",
]


class FlueError(Exception):
    """Base of every deliberate refusal.

    ``code`` is stable and safe to branch on; ``meta`` holds the values involved, never a secret; ``remedy`` is one sentence, which a
    traceback shows as a note.
    """

    code: ClassVar[str] = "flue_error"
    default_remedy: ClassVar[str] = ""

    def __init__(self, message: str, *, meta: Mapping[str, Any] | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.meta: dict[str, Any] = dict(meta or {})
        self.remedy = self.default_remedy if remedy is None else remedy
        if self.remedy:
            self.add_note(f"What to do: {self.remedy}")

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.message, self.meta, self.remedy)


def _restore(cls: type[FlueError], message: str, meta: dict[str, Any], remedy: str) -> FlueError:
    error = cls.__new__(cls)
    FlueError.__init__(error, message, meta=meta, remedy=remedy)
    return error


class ConfigurationError(FlueError):
    """A setting or argument is missing, malformed or contradicts another one."""

    code = "configuration_invalid"


class InvalidInputError(FlueError):
    """A value cannot be stored faithfully, so no statement was sent."""

    code = "invalid_input"


class ValueTooLargeError(InvalidInputError):
    """A value is longer than the column, its index or the server's packet limit allows, so nothing was written."""

    code = "value_too_large"


class DatabaseUnavailableError(FlueError):
    """The database could not be reached or refused the connection."""

    code = "database_unavailable"
    default_remedy = "Check that the server is running and that the URL, user and password are right."


class SerializationConflict(FlueError):
    """Another transaction was faster; nothing of this one was written. Run the whole transaction again."""

    code = "serialization_conflict"
    default_remedy = "Roll back and run the whole transaction again."


class OutcomeUnknown(FlueError):
    """The connection was lost after the statement was sent; it may or may not have been carried out."""

    code = "outcome_unknown"
    default_remedy = "Read the current state before deciding whether to repeat the operation."


class MalformedRowError(FlueError):
    """A stored row breaks the invariants of the contract (spec/submissions.md §5.1)."""

    code = "persisted_row_malformed"


class InternalStateError(FlueError):
    """A statement succeeded but its effect cannot be found; the store was changed behind this library's back."""

    code = "internal_state"


# -- schema ---------------------------------------------------------------------------------------------------------------------


class PersistedFormatVersionError(FlueError):
    """The stamp in ``flue_meta`` is not one that this release reads (spec/schema.md §2.3)."""

    code = "persisted_format_version_unsupported"
    details: ClassVar[str] = "The persisted data cannot be read safely by this runtime."


class SchemaVersionError(FlueError):
    """The schema is not the one that this release needs: not there, behind, ahead, partial or of another layout."""

    code = "schema_version_unsupported"


class MigrationLockTimeout(SchemaVersionError):
    """Another process held the migration lock for longer than we were willing to wait."""

    code = "migration_lock_timeout"
    default_remedy = "Wait for the other migration to end, then start again."


class SchemaPermissionError(SchemaVersionError):
    """The role, or the file's mode, does not allow what the migration needs; nothing was changed."""

    code = "schema_permission_denied"


# -- submissions ----------------------------------------------------------------------------------------------------------------


class SubmissionConflictError(FlueError):
    """A submission with this id exists and holds something else (spec/submissions.md §7.1, §10)."""

    code = "submission_conflict"


class ReceiptRetainedError(FlueError):
    """The submission was accepted and settled before, and its row has been pruned; it does not run again."""

    code = "submission_receipt_retained"
    default_remedy = "Read the outcome from the conversation; send new work under a new id or idempotency key."


class SessionDeletionError(FlueError):
    """The session is being deleted, so it takes no new work (spec/submissions.md §12)."""

    code = "session_deletion_pending"
    default_remedy = "Retry after the deletion has completed."


class SessionBusyError(FlueError):
    """The session has unsettled work, so it cannot be deleted (spec/submissions.md §16)."""

    code = "session_busy"
    default_remedy = "Wait for accepted work to settle, then retry the deletion."


class SessionConflictError(FlueError):
    """The session's leaf is not the one the caller expected; nothing was appended."""

    code = "session_conflict"
    default_remedy = "Load the session again and append to its current leaf."


class SessionMissingError(FlueError):
    """There is no session document under this key; nothing was appended."""

    code = "session_missing"
    default_remedy = "Save the session first."


class AgentInstanceMissingError(FlueError):
    """The instance that the send condition names does not exist, or is another incarnation (spec/lifecycle.md §3)."""

    code = "agent_instance_not_found"


class AgentInstanceExistsError(FlueError):
    """The send condition wants a new instance, and there is one (spec/lifecycle.md §3)."""

    code = "agent_instance_exists"


class SubmissionMissingError(FlueError):
    """There is no submission with this id, and no receipt of one that was pruned."""

    code = "submission_missing"
    default_remedy = "Check the id; an admission in a transaction of yours is visible to others once you have committed."


class SubmissionNotRequeuedError(FlueError):
    """The submission does not run, or whoever runs it still holds its lease; nothing was changed."""

    code = "submission_not_requeued"


class SubmissionAbortedError(FlueError):
    """The submission was aborted on request before it was finished; its outcome is ``aborted``."""

    code = "submission_aborted"


class SubmissionInterruptedError(FlueError):
    """The submission's workers ended again and again before its input was applied; its outcome is ``failed`` (spec/lifecycle.md §6)."""

    code = "submission_interrupted"


class SubmissionRetryExhaustedError(FlueError):
    """The submission was interrupted as often as its budget allows; its outcome is ``failed`` (spec/lifecycle.md §6)."""

    code = "submission_retry_exhausted"


class SubmissionTimeoutError(FlueError):
    """The submission did not finish before its wall-clock deadline; its outcome is ``failed`` (spec/lifecycle.md §9)."""

    code = "submission_timeout"


class WaitTimeoutError(FlueError, TimeoutError):
    """The submission was not settled within the time that the caller wanted to wait; it goes on."""

    code = "wait_timeout"
    default_remedy = "Wait again, or look at the submission's status."


class TransientError(FlueError):
    """For handlers to raise: the failure is expected to pass, so the worker tries again after a pause."""

    code = "transient"


class RunMissingError(FlueError):
    """There is no workflow run with this id, or it has no events."""

    code = "run_missing"
    default_remedy = "Check the id; `flue-sqla runs list` shows those that there are."


# -- streams --------------------------------------------------------------------------------------------------------------------


class ConversationStreamStoreError(FlueError):
    """A conversation stream operation was rejected; the stream is unchanged (spec/streams.md §4)."""

    code = "conversation_stream_store_failure"
    details: ClassVar[str] = "The conversation stream remains unchanged when the operation was rejected."

    def __init__(self, operation: str, path: str, reason: str, *, remedy: str | None = None) -> None:
        super().__init__(
            f"The canonical conversation stream operation could not be completed. {operation} on {path!r}: {reason}",
            meta={"operation": operation, "path": path, "reason": reason},
            remedy=remedy,
        )

    @property
    def reason(self) -> str:
        return str(self.meta["reason"])


class ConversationRecordInvariantError(FlueError):
    """A record breaks what every reader of the stream relies on (spec/streams.md §7)."""

    code = "conversation_record_invariant"


class StreamMissingError(FlueError):
    """The event stream does not exist (spec/streams.md §10)."""

    code = "event_stream_missing"


class StreamClosedError(FlueError):
    """The event stream is closed and takes no new event (spec/streams.md §10)."""

    code = "event_stream_closed"


class RequestConflictError(FlueError):
    """The key was used before with another payload (spec/streams.md §10)."""

    code = "event_key_conflict"


# -- attachments and artifacts --------------------------------------------------------------------------------------------------


class AttachmentConflictError(FlueError):
    """The attachment exists with other bytes, metadata or conversation (spec/attachments.md §3)."""

    code = "attachment_conflict"

    def __init__(self, path: str, attachment_id: str) -> None:
        super().__init__(
            "The attachment identity conflicts with persisted attachment data.",
            meta={"path": path, "attachmentId": attachment_id},
            remedy="Store the new bytes under a new attachment id.",
        )


class AttachmentIntegrityError(FlueError):
    """Attachment bytes do not match their size, digest or chunks (spec/attachments.md §3)."""

    code = "attachment_integrity"

    def __init__(self, attachment_id: str, reason: str) -> None:
        super().__init__(
            "The attachment bytes failed integrity verification.",
            meta={"attachmentId": attachment_id, "reason": reason},
            remedy="Compute the reference from the very bytes that are stored; restore corrupted data from a backup.",
        )


class ArtifactStoreError(FlueError):
    """The object store failed or refused; no artifact became visible."""

    code = "artifact_store_failure"


class ArtifactMissingError(FlueError):
    """There is no such artifact for this tenant; another tenant's is told apart by nothing."""

    code = "artifact_missing"

    def __init__(self, artifact_id: str) -> None:
        super().__init__(f"There is no artifact {artifact_id!r}.", meta={"artifactId": artifact_id}, remedy="Check the id and the tenant.")


class ArtifactConflictError(FlueError):
    """The storage key is taken or being removed; no artifact became visible."""

    code = "artifact_conflict"


class ArtifactIntegrityError(FlueError):
    """The stored bytes do not match the artifact's size or digest."""

    code = "artifact_integrity"


class ArtifactTooLargeError(FlueError):
    """The source is longer than ``max_bytes``; nothing was left behind."""

    code = "artifact_too_large"


class SnapshotError(FlueError):
    """A snapshot cannot be written or read; nothing was changed."""

    code = "snapshot_invalid"


class SnapshotConflictError(SnapshotError):
    """The snapshot is sound, but does not go together with what the database or the object store holds; nothing was changed."""

    code = "snapshot_conflict"
