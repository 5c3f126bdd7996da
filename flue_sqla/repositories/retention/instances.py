"""Everything of one agent instance, for a privacy request: conversation, sessions, attachments, submissions, events.

It goes the way of a session's deletion (spec/submissions.md §16): refused while there is unsettled work, with a marker that keeps new
work out and that survives a crash; run again, it finishes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import sqlalchemy as sa

from flue_sqla.errors import InvalidInputError
from flue_sqla.models.tables import (
    artifacts,
    attachment_chunks,
    attachments,
    batch_chunks,
    batches,
    dispatch_receipts,
    event_entries,
    event_streams,
    fold_checkpoint_chunks,
    fold_checkpoints,
    image_chunks,
    offloaded_attachments,
    session_entries,
    sessions,
    streams,
    submissions,
)
from flue_sqla.repositories.offloading import KeptBytes, Offload, release_removed
from flue_sqla.repositories.retention.plan import Instance, Plan, Tally
from flue_sqla.repositories.retention.runs import RemoveArtifact
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.repositories.sessions.deletion import SessionDeletion
from flue_sqla.repositories.sessions.images import OWNER_KIND
from flue_sqla.repositories.submission_removal import dependents
from flue_sqla.wire import agent_prefix, canonical_json, session_key, stream_path

__all__ = ["count_instance", "prune_instance"]

_STEP: Final = 2_000
"""Batches or events that one transaction deletes at most."""

_PATH = sa.bindparam("of_path", type_=sa.Text())
_BELOW = sa.bindparam("below", type_=sa.BigInteger())
_IDENTITY = sa.select(streams.c.identity_json, streams.c.next_offset).where(streams.c.path == _PATH)
# A producer of another process finds its claim stale from here on, so that nothing is appended while batches go.
_FENCE = sa.update(streams).where(streams.c.path == _PATH).values(producer_epoch=streams.c.producer_epoch + 1, producer_id=sa.null())
_HOLD = sa.select(streams.c.path).where(streams.c.path == _PATH).with_for_update()
_EVENTS_HEAD = sa.select(event_streams.c.next_offset).where(event_streams.c.path == _PATH)
_CLOSE_EVENTS = sa.update(event_streams).where(event_streams.c.path == _PATH).values(closed=True)
_FORGET_SESSION = sa.update(dispatch_receipts).values(session_key=sa.null())


@dataclass(frozen=True)
class _Owned:
    """Rows of one table that belong to the instance; long tables go in pieces by their number."""

    table: sa.Table
    condition: sa.ColumnElement[bool]
    number: sa.ColumnElement[int] | None = None
    only_chunked: bool = False


def _of_stream() -> list[_Owned]:
    """What hangs on the path of the conversation; the stream itself goes last."""
    return [
        _Owned(batch_chunks, batch_chunks.c.path == _PATH, batch_chunks.c.seq, only_chunked=True),
        _Owned(batches, batches.c.path == _PATH, batches.c.seq),
        _Owned(fold_checkpoint_chunks, fold_checkpoint_chunks.c.path == _PATH, only_chunked=True),
        _Owned(fold_checkpoints, fold_checkpoints.c.path == _PATH),
        _Owned(attachment_chunks, attachment_chunks.c.stream_path == _PATH, only_chunked=True),
        _Owned(attachments, attachments.c.stream_path == _PATH),
        _Owned(streams, streams.c.path == _PATH),
    ]


def _of_events() -> list[_Owned]:
    return [
        _Owned(event_entries, event_entries.c.path == _PATH, event_entries.c.seq),
        _Owned(event_streams, event_streams.c.path == _PATH),
    ]


def _of_sessions(prefix: str) -> list[_Owned]:
    image = image_chunks.c
    return [
        _Owned(image_chunks, sa.and_(image.owner_kind == OWNER_KIND, image.owner_id.startswith(prefix, autoescape=True))),
        _Owned(session_entries, session_entries.c.session_id.startswith(prefix, autoescape=True)),
        _Owned(sessions, sessions.c.id.startswith(prefix, autoescape=True)),
    ]


def prune_instance(
    scope: Scope,
    plan: Plan,
    tally: Tally,
    instance: Instance,
    remove_artifact: RemoveArtifact | None,
    delete: Callable[[str], None],
    offload: Offload,
) -> None:
    """Remove everything of one instance; ``delete`` removes one session document, ``offload`` bytes of attachments.

    Raises:
        SessionBusyError: unsettled work in one of its sessions; what was not begun is untouched.
        InvalidInputError: the path of its conversation belongs to another instance.
    """
    path = stream_path(*instance)
    _check_identity(scope, path, instance)
    counts = scope.snapshot(lambda executor: count_instance(executor, scope, instance, with_artifacts=remove_artifact is not None))
    lanes = sorted({session_key(*instance), *scope.read(partial(_lanes, prefix=_prefix(instance)))})
    with _kept_out(scope, lanes):
        if remove_artifact is not None:
            _remove_artifacts(scope, lanes, remove_artifact)
        for key in scope.read(partial(_session_ids, prefix=_prefix(instance))):
            delete(key)
        _remove_stream(scope, path, offload)
        if _unambiguous(instance):
            _remove_events(scope, path)
    scope.single(partial(_forget_sessions, prefix=_prefix(instance)))
    tally.add(counts)
    tally.tell("instances", plan.instances.index(instance) + 1, len(plan.instances))


@contextmanager
def _kept_out(scope: Scope, lanes: Sequence[str]) -> Iterator[None]:
    """Markers on all lanes for the length of the block, then their settled submissions go; an error takes the markers back."""
    started: list[SessionDeletion] = []
    try:
        for lane in lanes:
            deletion = SessionDeletion(scope, lane)
            deletion.start()
            started.append(deletion)
        for deletion in started:
            deletion.look_again()
        yield
    except BaseException:
        for deletion in started:
            if not deletion.refused:
                deletion.give_up()
        raise
    for deletion in started:
        deletion.finish()


def count_instance(executor: Executor, scope: Scope, instance: Instance, *, with_artifacts: bool) -> dict[str, int]:
    """What :func:`prune_instance` would remove, by table."""
    path, prefix = {"of_path": stream_path(*instance)}, _prefix(instance)
    owned = [*_of_stream(), *_of_sessions(prefix), *(_of_events() if _unambiguous(instance) else [])]
    ids = sa.select(submissions.c.submission_id).where(submissions.c.session_key.startswith(prefix, autoescape=True))
    owned += [_Owned(table, condition) for table, condition in dependents(ids)]
    owned.append(_Owned(submissions, submissions.c.session_key.startswith(prefix, autoescape=True)))
    kept = _Owned(offloaded_attachments, offloaded_attachments.c.stream_path == _PATH)
    owned += [kept, _Owned(artifacts, artifacts.c.id.in_(sa.select(kept.table.c.artifact_id).where(kept.condition)))]
    if with_artifacts:
        owned.append(_Owned(artifacts, artifacts.c.submission_id.in_(ids)))
    counts: dict[str, int] = {}
    for part in owned:
        if part.only_chunked and not scope.dialect.chunked_values:
            continue
        statement = sa.select(sa.func.count()).select_from(part.table).where(part.condition)
        counts[part.table.name] = counts.get(part.table.name, 0) + int(executor.execute(statement, path).scalar_one())
    return counts


def _check_identity(scope: Scope, path: str, instance: Instance) -> None:
    """Names are put into the path unescaped, so two instances may mean the same one; the stream says whose it is."""
    stored = scope.read(lambda executor: executor.execute(_IDENTITY, {"of_path": path}).first())
    identity = canonical_json({"agentName": instance[0], "instanceId": instance[1]})
    if stored is not None and stored.identity_json != identity:
        raise InvalidInputError(
            f"The conversation {path!r} belongs to another instance.", meta={"path": path, "agent": instance[0], "instanceId": instance[1]}
        )


def _remove_stream(scope: Scope, path: str, offload: Offload) -> None:
    of_path = {"of_path": path}
    scope.single(lambda executor: executor.execute(_FENCE, of_path).close())
    head = scope.read(lambda executor: executor.execute(_IDENTITY, of_path).first())
    parts = [part for part in _of_stream() if scope.dialect.chunked_values or not part.only_chunked]
    _remove_in_pieces(scope, parts, of_path, 0 if head is None else head.next_offset)

    def remove(executor: Executor) -> list[KeptBytes]:
        _remove_rest(executor, hold=_HOLD, parts=parts, of_path=of_path)
        return release_removed(executor, path, scope.clock.now())

    for kept in scope.write(remove):
        offload.erase(kept)


def _remove_events(scope: Scope, path: str) -> None:
    of_path = {"of_path": path}
    scope.single(lambda executor: executor.execute(_CLOSE_EVENTS, of_path).close())
    head = scope.read(lambda executor: executor.execute(_EVENTS_HEAD, of_path).scalar())
    _remove_in_pieces(scope, _of_events(), of_path, head or 0)
    scope.write(partial(_remove_rest, hold=_EVENTS_HEAD.with_for_update(), parts=_of_events(), of_path=of_path))


def _remove_in_pieces(scope: Scope, parts: Sequence[_Owned], of_path: dict[str, Any], length: int) -> None:
    for part in parts:
        if part.number is None:
            continue
        delete = sa.delete(part.table).where(part.condition, part.number < _BELOW)
        for below in range(_STEP, length, _STEP):
            parameters = {**of_path, "below": below}
            scope.single(lambda executor, s=delete, p=parameters: executor.execute(s, p).close())  # type: ignore[misc]


def _remove_rest(executor: Executor, *, hold: sa.Executable, parts: Sequence[_Owned], of_path: dict[str, Any]) -> None:
    executor.execute(hold, of_path).all()
    for part in parts:
        executor.execute(sa.delete(part.table).where(part.condition), of_path)


def _remove_artifacts(scope: Scope, lanes: Sequence[str], remove_artifact: RemoveArtifact) -> None:
    ids = sa.select(submissions.c.submission_id).where(submissions.c.session_key.in_(lanes))
    owned = sa.select(artifacts.c.tenant, artifacts.c.id).where(artifacts.c.submission_id.in_(ids))
    for tenant, artifact_id in map(tuple, scope.read(lambda executor: executor.execute(owned).all())):
        remove_artifact(tenant, artifact_id)


def _lanes(executor: Executor, *, prefix: str) -> Sequence[str]:
    key = submissions.c.session_key
    return executor.execute(sa.select(key).where(key.startswith(prefix, autoescape=True)).distinct()).scalars().all()


def _session_ids(executor: Executor, *, prefix: str) -> Sequence[str]:
    return executor.execute(sa.select(sessions.c.id).where(sessions.c.id.startswith(prefix, autoescape=True))).scalars().all()


def _forget_sessions(executor: Executor, *, prefix: str) -> None:
    # The receipts stay, so that nothing runs twice; whose they were need not be known for that.
    executor.execute(_FORGET_SESSION.where(dispatch_receipts.c.session_key.startswith(prefix, autoescape=True))).close()


def _prefix(instance: Instance) -> str:
    agent, instance_id = instance
    return f"{agent_prefix(agent)}{canonical_json(instance_id)},"


def _unambiguous(instance: Instance) -> bool:
    """Event streams do not say whose they are; one that two pairs of names could mean is left alone."""
    return not any("/" in part for part in instance)
