"""Attachments that are kept as artifacts: where their bytes are, and what becomes of those. Ours; Flue has no such thing.

The row in ``flue_attachments`` is there with its size and digest and no bytes, so a server that knows nothing of artifacts finds the
attachment damaged instead of missing. A row in ``flue_offloaded_attachments`` is written before it, and names the artifact: whatever of a
put is committed, an attachment has its bytes.
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
from flue_sqla.repositories.scope import Executor, Scope

__all__ = [
    "KeptBytes",
    "Offload",
    "forget_left_behind",
    "insert_artifact",
    "is_whole",
    "kept_bytes",
    "link_artifact",
    "release_removed",
    "release_stranded",
    "replace_artifact",
    "stranded",
    "take_back_artifact",
    "unlink_artifact",
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

    def has(self, kept: KeptBytes, size: int) -> bool:
        """Whether the bytes are there, ``size`` of them; also where they were moved to another store, which is not looked into.

        Raises:
            ArtifactStoreError: the store failed.
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


_KEPT_AS = (offloaded.c.artifact_id, artifacts.c.storage_key, artifacts.c.store)
"""The columns of :class:`KeptBytes`, all NULL where the bytes are in the attachment's own row."""

_THIS = sa.and_(offloaded.c.stream_path == attachments.c.stream_path, offloaded.c.attachment_id == attachments.c.attachment_id)
# Of that tenant only: no row that somebody wrote by hand makes an attachment of a tenant's artifact.
_ITS = sa.and_(artifacts.c.id == offloaded.c.artifact_id, artifacts.c.tenant == KEPT_TENANT)
_REMOVED = (
    sa.select(*_KEPT_AS)
    .select_from(offloaded.outerjoin(artifacts, _ITS))
    .where(offloaded.c.stream_path == sa.bindparam("of_path", type_=sa.Text()), ~sa.exists().where(_THIS))
)
# One by one and by their own keys: MariaDB would go through all artifacts for those of a subquery, and wait for each that is being put;
# and a put that replaces an entry meanwhile must not lose it to a look that is older.
_MARK = (
    sa.update(artifacts)
    .where(artifacts.c.id == sa.bindparam("kept_as"), artifacts.c.tenant == KEPT_TENANT, artifacts.c.state == STORED)
    .values(state=DELETING, deleted_at=sa.bindparam("at"))
)
_FORGET = sa.delete(offloaded).where(offloaded.c.artifact_id == sa.bindparam("kept_as"))
_STRANDED = (
    sa.select(artifacts.c.id)
    .where(
        artifacts.c.tenant == KEPT_TENANT,
        artifacts.c.state == STORED,
        artifacts.c.created_at <= sa.bindparam("before"),
        ~sa.exists().where(offloaded.c.artifact_id == artifacts.c.id, _THIS),
    )
    .order_by(artifacts.c.id)
)
_TAKE_BACK = sa.delete(artifacts).where(artifacts.c.id == sa.bindparam("artifact"))
_INSERT_ARTIFACT = PerDialect(lambda dialect: dialect.insert_ignore(artifacts))
_LINK = PerDialect(lambda dialect: dialect.insert_ignore(offloaded))
_FORGET_LEFT_BEHIND = sa.delete(offloaded).where(
    offloaded.c.stream_path == sa.bindparam("of_path"),
    offloaded.c.attachment_id == sa.bindparam("of_attachment"),
    ~sa.exists().where(_THIS),
)
_RELINK = sa.update(offloaded).where(offloaded.c.artifact_id == sa.bindparam("lost")).values(artifact_id=sa.bindparam("kept_as"))


def with_artifact(columns: Sequence[sa.ColumnElement[Any]]) -> sa.Select[Any]:
    """A SELECT of attachments, with where their bytes are kept if not in their rows."""
    return sa.select(*columns, *_KEPT_AS).select_from(attachments.outerjoin(offloaded, _THIS).outerjoin(artifacts, _ITS))


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


def link_artifact(executor: Executor, dialect: DialectImpl, stream_path: str, attachment_id: str, artifact: Artifact) -> bool:
    """Note which artifact has the bytes of an attachment that is yet to be written. False when there is such an entry already."""
    entry = {"stream_path": stream_path, "attachment_id": attachment_id, "artifact_id": artifact.id}
    return executor.execute(_LINK(dialect), entry).rowcount == 1


def unlink_artifact(executor: Executor, artifact: Artifact) -> None:
    """Remove the entry that this transaction wrote: the attachment was there already."""
    executor.execute(_FORGET, {"kept_as": artifact.id}).close()


def forget_left_behind(executor: Executor, key: dict[str, Any]) -> None:
    """Remove the entry of an attachment that is gone; a sweep finds its artifact."""
    executor.execute(_FORGET_LEFT_BEHIND, key).close()


def replace_artifact(executor: Executor, lost: KeptBytes, artifact: Artifact) -> bool:
    """Let an attachment have another artifact than one whose bytes are lost. False when somebody was faster.

    The row of that one goes at once: should its bytes turn up again, a sweep finds that nobody needs them.
    """
    if executor.execute(_RELINK, {"lost": lost.artifact_id, "kept_as": artifact.id}).rowcount != 1:
        return False
    executor.execute(_TAKE_BACK, {"artifact": lost.artifact_id}).close()
    return True


def _release(executor: Executor, artifact_ids: Sequence[str], at: int) -> None:
    """Mark artifacts whose attachments are gone as deleted at ``at`` (epoch ms), and forget whose bytes they were."""
    if artifact_ids:
        executor.execute(_MARK, [{"kept_as": artifact_id, "at": at} for artifact_id in artifact_ids]).close()
        executor.execute(_FORGET, [{"kept_as": artifact_id} for artifact_id in artifact_ids]).close()


def release_removed(executor: Executor, stream_path: str, now: int) -> list[KeptBytes]:
    """Release the artifacts of attachments that are gone, in the transaction that removed those of ``stream_path``.

    Returns:
        What :meth:`Offload.erase` is to be called with after the commit.
    """
    removed = executor.execute(_REMOVED, {"of_path": stream_path}).all()
    _release(executor, [row.artifact_id for row in removed], now)
    return [KeptBytes(row.artifact_id, row.storage_key, row.store) for row in removed if row.storage_key is not None]


def stranded(scope: Scope, before: int) -> Sequence[str]:
    """Artifacts of attachments that somebody removed who did not know of them, put no later than ``before`` (epoch ms)."""
    return scope.read(lambda executor: executor.execute(_STRANDED, {"before": before}).scalars().all())


def release_stranded(scope: Scope, before: int) -> None:
    """Release those, as deleted at ``before``. Nothing can make an attachment of them again meanwhile."""
    found = stranded(scope, before)
    if found:
        scope.write(lambda executor: _release(executor, found, before))


def is_whole(entry: sa.Table = offloaded) -> sa.ColumnElement[bool]:
    """Whether an entry has its attachment and its artifact; one that somebody left behind who removed either is no data."""
    attachment = sa.and_(attachments.c.stream_path == entry.c.stream_path, attachments.c.attachment_id == entry.c.attachment_id)
    return sa.and_(sa.exists().where(attachment), sa.exists().where(artifacts.c.id == entry.c.artifact_id))
