"""Attachments that are kept as artifacts: where their bytes are, and what becomes of those. Ours; Flue has no such thing.

The row in ``flue_attachments`` is there with its size and digest and no bytes, so a server that knows nothing of artifacts finds the
attachment damaged instead of missing. A row in ``flue_offloaded_attachments`` is written with it, and names the artifact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa

from flue_sqla.dialects import DialectImpl
from flue_sqla.models.tables import artifacts, attachments
from flue_sqla.models.tables import offloaded_attachments as offloaded
from flue_sqla.records.artifact import Artifact
from flue_sqla.records.attachment import AttachmentRef
from flue_sqla.repositories.artifacts import DELETING, KEPT_TENANT, STORED, artifact_row
from flue_sqla.repositories.per_dialect import PerDialect
from flue_sqla.repositories.scope import Executor

__all__ = [
    "KeptBytes",
    "Offload",
    "insert_artifact",
    "kept_bytes",
    "link_artifact",
    "release_removed",
    "take_back_artifact",
    "with_artifact",
]


class KeptBytes(NamedTuple):
    """Where the bytes of one attachment are: the artifact, its key in the object store, and the label of another store than the usual."""

    artifact_id: str
    storage_key: str
    store: str | None


class Offload(Protocol):
    """The object store as attachments use it. Each call does its own waiting, whichever face it came from."""

    def wants(self, size: int) -> bool:
        """Whether an attachment of ``size`` bytes is to be kept as an artifact."""
        ...

    def upload(self, ref: AttachmentRef, data: bytes) -> Artifact:
        """Store the bytes; the artifact has no row yet.

        Raises:
            ArtifactStoreError: the store failed, and nothing is left.
        """
        ...

    def discard(self, artifact: Artifact) -> None:
        """Remove bytes whose row was never written; a failure is left to a sweep."""
        ...

    def read(self, kept: KeptBytes, size: int) -> bytes:
        """All the bytes.

        Raises:
            ArtifactStoreError: they cannot be read.
        """
        ...

    def erase(self, kept: KeptBytes) -> None:
        """Finish the deletion of an artifact that is marked: its bytes, then its row; a failure is left to a sweep."""
        ...


KEPT_AS = (offloaded.c.artifact_id, artifacts.c.storage_key, artifacts.c.store)
"""The columns of :class:`KeptBytes`, all NULL where the bytes are in the attachment's own row."""

_THIS = sa.and_(offloaded.c.stream_path == attachments.c.stream_path, offloaded.c.attachment_id == attachments.c.attachment_id)
# Of that tenant only: no row that somebody wrote by hand makes an attachment of a tenant's artifact.
_ITS = sa.and_(artifacts.c.id == offloaded.c.artifact_id, artifacts.c.tenant == KEPT_TENANT)
_REMOVED = sa.and_(offloaded.c.stream_path == sa.bindparam("of_path", type_=sa.Text()), ~sa.exists().where(_THIS))
_KEPT = sa.select(*KEPT_AS).join_from(offloaded, artifacts, _ITS).where(_REMOVED)
_MARK = (
    sa.update(artifacts)
    .where(artifacts.c.id.in_(sa.select(offloaded.c.artifact_id).where(_REMOVED)), artifacts.c.state == STORED)
    .values(state=DELETING, deleted_at=sa.bindparam("now"))
)
_FORGET = sa.delete(offloaded).where(_REMOVED)
_TAKE_BACK = sa.delete(artifacts).where(artifacts.c.id == sa.bindparam("artifact"))
_INSERT_ARTIFACT = PerDialect(lambda dialect: dialect.insert_ignore(artifacts))
# An entry that was left behind is replaced; a sweep finds its artifact.
_LINK = PerDialect(lambda dialect: dialect.upsert(offloaded, ["stream_path", "attachment_id"], ["artifact_id"]))


def with_artifact(columns: Sequence[sa.ColumnElement[Any]]) -> sa.Select[Any]:
    """A SELECT of attachments, with where their bytes are kept if not in their rows."""
    return sa.select(*columns, *KEPT_AS).select_from(attachments.outerjoin(offloaded, _THIS).outerjoin(artifacts, _ITS))


def kept_bytes(row: sa.Row[Any], content: bytes) -> KeptBytes | None:
    """Where a row of :func:`with_artifact` has its bytes; None where they are its own ``content``.

    A row with content has no others, whatever is noted: that is left of an attachment which was removed by somebody who did not know of it,
    and whose id was used again.
    """
    return None if content or row.storage_key is None else KeptBytes(row.artifact_id, row.storage_key, row.store)


def insert_artifact(executor: Executor, dialect: DialectImpl, artifact: Artifact) -> bool:
    """Write the row of an artifact that an attachment will be kept as. False when its bytes were swept, or when it is there already."""
    return executor.execute(_INSERT_ARTIFACT(dialect), artifact_row(artifact)).rowcount == 1


def take_back_artifact(executor: Executor, artifact: Artifact) -> None:
    """Remove the row that this transaction wrote: the attachment was there already."""
    executor.execute(_TAKE_BACK, {"artifact": artifact.id}).close()


def link_artifact(executor: Executor, dialect: DialectImpl, stream_path: str, attachment_id: str, artifact: Artifact) -> None:
    """Note which artifact has the bytes of an attachment."""
    entry = {"stream_path": stream_path, "attachment_id": attachment_id, "artifact_id": artifact.id}
    executor.execute(_LINK(dialect), entry).close()


def release_removed(executor: Executor, stream_path: str, now: int) -> list[KeptBytes]:
    """Mark the artifacts of attachments that are gone; to be called in the transaction that removed those of ``stream_path``.

    Returns:
        What :meth:`Offload.erase` is to be called with after the commit.
    """
    of_path = {"of_path": stream_path}
    kept = [KeptBytes(row.artifact_id, row.storage_key, row.store) for row in executor.execute(_KEPT, of_path)]
    if kept:
        executor.execute(_MARK, {**of_path, "now": now}).close()
        executor.execute(_FORGET, of_path).close()
    return kept
