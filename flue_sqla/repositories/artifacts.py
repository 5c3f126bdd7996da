"""The rows of artifacts. They know nothing of the object store: the order of bytes and rows is kept in ``flue_sqla.artifacts``."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.errors import InvalidInputError
from flue_sqla.models.tables import artifacts
from flue_sqla.records.artifact import Artifact, ArtifactPage
from flue_sqla.repositories.paging import at_least_one
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.wire import canonical_json, parse_json, require_integer, require_storable

__all__ = ["DELETING", "KEPT_TENANT", "STORED", "ArtifactRows", "artifact_row", "is_mark"]

STORED: Final = "stored"
DELETING: Final = "deleting"
KEPT_TENANT: Final = "-attachments"
"""The tenant of artifacts that are the bytes of attachments. No tenant's call can see them: whoever may read the attachment may."""
_MARK = "-"
"""Digest and tenant of a mark: the row of a storage key whose orphaned bytes were swept. No tenant's call can see it."""
_LIMIT = 100
_MOST = 1000

_c = artifacts.c
_SHOWN = (
    _c.id,
    _c.tenant,
    _c.name,
    _c.content_type,
    _c.size,
    _c.sha256,
    _c.metadata_json,
    _c.run_id,
    _c.submission_id,
    _c.created_at,
    _c.storage_key,
    _c.store,
)
_SELECT = sa.select(*_SHOWN)
_VISIBLE = sa.and_(_c.sha256 != _MARK, _c.tenant != KEPT_TENANT)
_ONE = _SELECT.where(_c.id == sa.bindparam("artifact_id"), _c.tenant == sa.bindparam("of_tenant"), _VISIBLE)
_GET = _ONE.where(_c.state == STORED)
_MARK_DELETING = (
    sa.update(artifacts)
    .where(_c.id == sa.bindparam("artifact_id"), _c.tenant == sa.bindparam("of_tenant"), _VISIBLE, _c.state == STORED)
    .values(state=DELETING, deleted_at=sa.bindparam("now"))
)
_REMOVE = sa.delete(artifacts).where(_c.id == sa.bindparam("artifact_id"), _c.state == DELETING)
# Not of an attachment: its reader is told that the bytes are lost, which a backup may bring back.
_REMOVE_MISSING = sa.delete(artifacts).where(_c.id == sa.bindparam("artifact_id"), _c.state == STORED, _c.tenant != KEPT_TENANT)
_REMOVE_MARKS = sa.delete(artifacts).where(_c.state == DELETING, _c.sha256 == _MARK, _c.created_at < sa.bindparam("before"))
_THERE = sa.select(_c.id).where(_c.id == sa.bindparam("artifact_id"), _c.state == STORED)
_KEYS = sa.select(_c.storage_key).where(_c.storage_key.in_(sa.bindparam("keys", expanding=True)))
_DELETIONS = (
    _SELECT.where(_c.state == DELETING, _c.sha256 != _MARK, _c.deleted_at <= sa.bindparam("before"), _c.id > sa.bindparam("after"))
    .order_by(_c.id)
    .limit(sa.bindparam("most"))
)
_SCAN = _SELECT.where(_c.state == STORED, _c.id > sa.bindparam("after")).order_by(_c.id).limit(sa.bindparam("most"))
_SCAN_TENANT = _SCAN.where(_c.tenant == sa.bindparam("of_tenant"))
_TOTALS = sa.select(sa.func.count().label("artifacts"), sa.func.sum(_c.size).label("bytes")).where(_c.state == STORED)
_RELABEL = sa.update(artifacts).where(_c.id == sa.bindparam("artifact_id"), _c.state == STORED).values(store=sa.bindparam("label"))


def is_mark(table: sa.Table = artifacts) -> sa.ColumnElement[bool]:
    """Whether a row is no artifact but a mark: bookkeeping between a sweep and late puts."""
    return sa.and_(table.c.state == DELETING, table.c.sha256 == _MARK)


class ArtifactRows:
    """Statements on ``flue_artifacts`` over one scope."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def insert(self, artifact: Artifact) -> bool:
        """Make a stored artifact visible. False when its storage key is taken: it was swept while this put was on its way.

        Waits for a transaction that is about to write the same key.

        Raises:
            ValueTooLargeError: name and metadata are more than the server takes in one statement.
        """
        row = artifact_row(artifact)
        statement = self.scope.dialect.insert_ignore(artifacts)

        def insert(executor: Executor) -> bool:
            self.scope.dialect.check_packet(executor, artifact.name, row["metadata_json"] or "")
            return executor.execute(statement, row).rowcount == 1

        def confirm(executor: Executor) -> bool:
            # After a lost answer the replayed insert finds the row that the first one wrote.
            return executor.execute(_GET, {"artifact_id": artifact.id, "of_tenant": artifact.tenant}).one_or_none() is not None

        return self.scope.single(insert, confirm=confirm)

    def distinct_tenant(self, tenant: str) -> str:
        """As :meth:`distinct`; an empty one is refused too: nobody has it, and a check of nobody's artifacts finds all well."""
        if tenant == "":
            raise InvalidInputError("tenant is empty.", meta={"field": "tenant"}, remedy="Name a tenant.")
        return self.distinct("tenant", tenant)

    def distinct(self, column: str, text: str) -> str:
        """``text`` itself.

        Raises:
            InvalidInputError: this database would take it for another one in this column, or cannot hold it.
        """
        self.scope.dialect.check_key(column, require_storable(text, column))
        return text

    def _keys(self, tenant: str, artifact_id: str) -> dict[str, Any]:
        return {"artifact_id": require_storable(artifact_id, "artifact_id"), "of_tenant": self.distinct_tenant(tenant)}

    def get(self, tenant: str, artifact_id: str) -> Artifact | None:
        """The artifact; None when there is none, it is being deleted, or it is another tenant's."""
        keys = self._keys(tenant, artifact_id)
        found = self.scope.read(lambda executor: executor.execute(_GET, keys).one_or_none())
        return _artifact(found) if found is not None else None

    def list(
        self,
        tenant: str,
        *,
        run_id: str | None = None,
        submission_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> ArtifactPage:
        """A page of a tenant's artifacts, oldest first; at most 1000, 100 by default.

        Raises:
            InvalidInputError: the cursor or the limit is not a legal one.
        """
        most = _LIMIT if limit is None else min(at_least_one(limit), _MOST)
        query = _SELECT.where(_c.tenant == self.distinct_tenant(tenant), _VISIBLE, _c.state == STORED)
        if run_id is not None:
            query = query.where(_c.run_id == self.distinct("run_id", run_id))
        if submission_id is not None:
            query = query.where(_c.submission_id == self.distinct("submission_id", submission_id))
        if cursor is not None:
            created_at, last_id = _decode_cursor(cursor)
            query = query.where(sa.or_(_c.created_at > created_at, sa.and_(_c.created_at == created_at, _c.id > last_id)))
        query = query.order_by(_c.created_at, _c.id).limit(most + 1)
        found = self.scope.read(lambda executor: executor.execute(query).all())
        page = [_artifact(row) for row in found[:most]]
        return ArtifactPage(artifacts=page, next_cursor=_encode_cursor(page[-1]) if len(found) > most else None)

    def mark_deleting(self, tenant: str, artifact_id: str) -> Artifact | None:
        """Hide the artifact before its bytes go; repeatable. None when there is none, or it is another tenant's."""
        keys = self._keys(tenant, artifact_id)

        def mark(executor: Executor) -> Any:
            executor.execute(_MARK_DELETING, {**keys, "now": self.scope.clock.now()})
            return executor.execute(_ONE, keys).one_or_none()

        found = self.scope.write(mark)
        return _artifact(found) if found is not None else None

    def remove(self, artifact_id: str) -> None:
        """Remove the row of a marked artifact whose bytes are gone; repeatable."""
        self.scope.single(lambda executor: executor.execute(_REMOVE, {"artifact_id": artifact_id}).rowcount)

    # -- sweeping ---------------------------------------------------------------------------------------------------------------

    def known_keys(self, keys: Sequence[str]) -> set[str]:
        """Which of ``keys`` have a row, in whatever state."""
        if not keys:
            return set()
        return set(self.scope.read(lambda executor: executor.execute(_KEYS, {"keys": list(keys)}).scalars().all()))

    def claim_orphan(self, mark_id: str, storage_key: str) -> bool:
        """Take the storage key of bytes without a row, so that no late insert can; committed when this returns True.

        Waits for a transaction that is about to insert the same key; False when it did.
        """
        row = {
            **dict.fromkeys(_EMPTY),
            "id": mark_id,
            "tenant": _MARK,
            "name": "",
            "size": 0,
            "sha256": _MARK,
            "storage_key": storage_key,
            "state": DELETING,
            "created_at": self.scope.clock.now(),
        }
        statement = self.scope.dialect.insert_ignore(artifacts)
        mine = sa.select(_c.id).where(_c.id == mark_id)
        return self.scope.single(
            lambda executor: executor.execute(statement, row).rowcount == 1,
            confirm=lambda executor: executor.execute(mine).one_or_none() is not None,
        )

    def remove_marks(self, before: int) -> int:
        """Forget swept keys that were marked before ``before`` (epoch ms); how many."""
        return self.scope.single(lambda executor: executor.execute(_REMOVE_MARKS, {"before": before}).rowcount)

    def deletions(self, before: int, after: str, limit: int) -> Sequence[Artifact]:
        """Artifacts marked no later than ``before`` (epoch ms) but still there, by id from ``after`` on."""
        keys = {"before": before, "after": after, "most": limit}
        return [_artifact(row) for row in self.scope.read(lambda executor: executor.execute(_DELETIONS, keys).all())]

    def scan(self, after: str, limit: int, tenant: str | None = None) -> Sequence[Artifact]:
        """Stored artifacts of one or all tenants, by id from ``after`` on."""
        statement = _SCAN if tenant is None else _SCAN_TENANT
        keys = {"after": after, "most": limit} | ({} if tenant is None else {"of_tenant": self.distinct_tenant(tenant)})
        return [_artifact(row) for row in self.scope.read(lambda executor: executor.execute(statement, keys).all())]

    def is_stored(self, artifact_id: str) -> bool:
        """Whether this artifact, of whatever tenant, has not been deleted meanwhile."""
        return self.scope.read(lambda executor: executor.execute(_THERE, {"artifact_id": artifact_id}).first()) is not None

    def totals(self) -> tuple[int, int]:
        """How many artifacts are stored, and their bytes."""
        found = self.scope.read(lambda executor: executor.execute(_TOTALS).mappings().one())
        return int(found["artifacts"]), int(found["bytes"] or 0)

    def remove_missing(self, artifact_id: str) -> None:
        """Remove the row of a stored artifact whose bytes are lost."""
        self.scope.single(lambda executor: executor.execute(_REMOVE_MISSING, {"artifact_id": artifact_id}).rowcount)

    def relabel(self, artifact_ids: Iterable[str], label: str | None) -> None:
        """Note in one transaction that the bytes of all these artifacts lie in the store ``label``; None is the configured one."""
        rows = [{"artifact_id": artifact_id, "label": label} for artifact_id in artifact_ids]
        if rows:
            self.scope.write(lambda executor: executor.execute(_RELABEL, rows).rowcount)


_EMPTY = ("content_type", "store", "metadata_json", "run_id", "submission_id", "deleted_at")


def artifact_row(artifact: Artifact) -> dict[str, Any]:
    """The row of a stored artifact."""
    row = artifact.model_dump(exclude={"metadata"})
    metadata = None if artifact.metadata is None else canonical_json(artifact.metadata)
    return {**row, "metadata_json": metadata, "state": STORED, "deleted_at": None}


def _artifact(row: sa.Row[Any]) -> Artifact:
    values = dict(row._mapping)
    text = values.pop("metadata_json")
    return Artifact.model_construct(**values, metadata=None if text is None else parse_json(text))


def _encode_cursor(last: Artifact) -> str:
    return base64.urlsafe_b64encode(json.dumps([last.created_at, last.id]).encode()).decode("ascii").rstrip("=")


def _decode_cursor(cursor: str) -> tuple[int, str]:
    try:
        created_at, last_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return require_integer(created_at, "created_at"), require_storable(last_id, "id")
    except (ValueError, TypeError, RecursionError, InvalidInputError):
        raise InvalidInputError(
            "This is not a cursor of an artifact listing.",
            meta={"field": "cursor"},
            remedy="Pass the next_cursor of the page before.",
        ) from None
