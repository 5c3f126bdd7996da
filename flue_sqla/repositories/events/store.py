"""The events of workflow runs: append-only streams of any JSON, read by offset (spec/streams.md part B)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from flue_sqla.errors import InternalStateError, MalformedRowError, RequestConflictError, StreamClosedError, StreamMissingError
from flue_sqla.records.event import EventPage, EventStreamMeta, StoredEvent
from flue_sqla.repositories.events import statements as sql
from flue_sqla.repositories.notifications import notification_of, notifies
from flue_sqla.repositories.paging import page_limit
from flue_sqla.repositories.scope import Executor, Lost, Scope
from flue_sqla.signals import event_topic
from flue_sqla.wire import canonical_json, format_offset, parse_json, parse_offset, require_storable

__all__ = ["Events"]

_LOOKS: Final = 3
"""How often an append is tried whose gate failed although a look right after it finds the stream open."""


class Events:
    """Event streams. Paths are ``runs/<runId>`` and ``agents/<agent>/<instanceId>``; offsets are those of conversation streams.

    Whoever reads on from ``next_offset`` sees every event once and in order: an event becomes visible only after all those before it.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def create(self, path: str) -> None:
        """Make an empty open stream; one that exists, open or closed, stays as it is."""
        self._check_path(path)
        self._scope.single(lambda executor: executor.execute(sql.CREATE(self._scope.dialect), {"of_path": path}).rowcount)

    def append(self, path: str, event: Any) -> str:
        """Append one event, any JSON value, and return its offset.

        Raises:
            StreamMissingError, StreamClosedError: nothing was written.
            InvalidInputError: the event has no JSON text; no statement was sent.
            OutcomeUnknown: the answer was lost, and an event without a key cannot be recognised; :meth:`append_once` can.
        """
        self._check_path(path)
        data = canonical_json(event)
        seq = self._append_alone(path, data) if self._scope.dialect.single_statement else self._append_locked(path, data)
        self.wake(path)
        return format_offset(seq)

    def append_once(self, path: str, key: str, event: Any) -> str:
        """Append one event under ``key``, or return the offset of the event that this very call stored before.

        A repeat is answered on a closed stream too.

        Raises:
            RequestConflictError: ``key`` was used in this stream with another payload.
            StreamMissingError, StreamClosedError, InvalidInputError: as :meth:`append`.
        """
        self._check_path(path)
        self._scope.dialect.check_key("event_key", require_storable(key, "key"))
        data = canonical_json(event)
        seq = self._append_key_alone(path, key, data)
        if seq is None:
            seq, appended = self._scope.write(lambda executor: self._append_key_locked(executor, path, key, data))
            if not appended:
                return format_offset(seq)
        self.wake(path)
        return format_offset(seq)

    def read(self, path: str, *, offset: str = "-1", limit: int | None = None) -> EventPage:
        """The events strictly after ``offset``; a missing stream reads as an empty open one.

        Args:
            offset: ``-1`` for the beginning, ``now`` for the head (no events), or one that a page or an append gave. Beyond the head is
                no error: nothing is there yet.
            limit: at most this many events; absent, zero or negative is 100, more than 1000 is 1000.

        Raises:
            InvalidInputError: a malformed offset.
        """
        self._check_path(path)
        count = page_limit(limit)
        if offset == "now":
            head = self.get_meta(path)
            return EventPage(events=[], next_offset=head.next_offset if head else "-1", up_to_date=True, closed=bool(head and head.closed))
        start = parse_offset(offset)
        parameters = {"of_path": path, "after": start, "fetch": count + 1}
        rows = self._scope.read(lambda executor: executor.execute(sql.PAGE, parameters).all())
        if not rows:
            return EventPage(events=[], next_offset="-1", up_to_date=True, closed=False)
        found = [(row.seq, row.data) for row in rows if row.seq is not None]
        events = [StoredEvent.model_construct(data=_parsed(path, seq, data), offset=format_offset(seq)) for seq, data in found[:count]]
        return EventPage.model_construct(
            events=events,
            next_offset=events[-1].offset if events else format_offset(start),
            up_to_date=len(found) <= count,
            closed=bool(rows[0].closed),
        )

    def close(self, path: str) -> None:
        """Take no more events. Idempotent; an unknown path is nothing to close."""
        self._check_path(path)
        parameters = {"of_path": path}
        statement: sa.Executable = sql.CLOSE
        if notifies(self._scope):
            statement, parameters = sql.close_in_one(), parameters | notification_of(self._scope, event_topic(path))
        self._scope.single(lambda executor: executor.execute(statement, parameters).close())
        self.wake(path)

    def get_meta(self, path: str) -> EventStreamMeta | None:
        """The head of a stream, or None when it does not exist."""
        self._check_path(path)
        row = self._scope.read(lambda executor: executor.execute(sql.META, {"of_path": path}).first())
        return None if row is None else EventStreamMeta(next_offset=format_offset(row.next_offset - 1), closed=bool(row.closed))

    def subscribe(self, path: str, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` once per append and per close made through this Flue, before that call returns.

        Under ``begin()`` or ``bind()`` it is called right after the commit. What it raises is logged and dropped. Other processes are
        not heard here; ``follow`` hears them.

        Returns:
            A function that removes just this listener.
        """
        return self._scope.signals.subscribe(event_topic(path), listener)

    # -- appending ----------------------------------------------------------------------------------------------------------------

    def _append_alone(self, path: str, data: str) -> int:
        statement, parameters = self._in_one(path, {"of_path": path, "of_data": data}, keyed=False)
        for _ in range(_LOOKS):
            seq = self._scope.single(lambda executor: executor.execute(statement, parameters).scalar(), lost=Lost.UNKNOWN)
            if seq is not None:
                return int(seq)
            self._scope.read(lambda executor: _check_open(path, executor.execute(sql.META, {"of_path": path}).first()))
        raise InternalStateError(f'[flue] Event stream "{path}" is open, but took no event.', meta={"path": path})

    def _append_locked(self, path: str, data: str) -> int:
        def operation(executor: Executor) -> int:
            self._scope.dialect.check_packet(executor, data)
            return self.insert(executor, {"path": path, "data": data})

        return self._scope.write(operation, lost=Lost.UNKNOWN)

    def _append_key_alone(self, path: str, key: str, data: str) -> int | None:
        if not self._scope.dialect.single_statement or self._scope.in_transaction:
            return None  # a refusal by the unique index would end the transaction that somebody else owns
        statement, parameters = self._in_one(path, {"of_path": path, "of_data": data, "of_key": key}, keyed=True)
        try:
            seq: int | None = self._scope.single(lambda executor: executor.execute(statement, parameters).scalar())
        except IntegrityError:
            return None
        return seq

    def _append_key_locked(self, executor: Executor, path: str, key: str, data: str) -> tuple[int, bool]:
        self._scope.dialect.check_packet(executor, data)
        stream = executor.execute(sql.LOCKED_META, {"of_path": path}).first()
        earlier = executor.execute(sql.LOCKED_KEYED, {"of_path": path, "of_key": key}).first()
        if earlier is None:
            _check_open(path, stream)
            return self.insert(executor, {"path": path, "data": data, "event_key": key}), True
        if earlier.data != data:
            raise RequestConflictError(
                f'[flue] Event key "{key}" was used before with a conflicting payload in event stream "{path}".',
                meta={"path": path, "key": key, "offset": format_offset(earlier.seq)},
                remedy="Use a new key for a new event.",
            )
        return earlier.seq, False

    def insert(self, executor: Executor, values: Mapping[str, Any]) -> int:
        """One append as part of a larger operation of the library: ``path``, ``data`` and perhaps ``event_key``. Returns its number."""
        of_path = {"of_path": values["path"]}
        if executor.execute(sql.ADVANCE, of_path).rowcount != 1:
            _check_open(values["path"], executor.execute(sql.LOCKED_META, of_path).first())
        seq = int(executor.execute(sql.META, of_path).one().next_offset) - 1
        executor.execute(sql.INSERT, {**values, "seq": seq})
        if notifies(self._scope):
            executor.execute(sql.NOTIFY, notification_of(self._scope, event_topic(values["path"])))
        return seq

    def _in_one(self, path: str, parameters: Mapping[str, Any], *, keyed: bool) -> tuple[sa.Executable, dict[str, Any]]:
        notifying = notifies(self._scope)
        extra = notification_of(self._scope, event_topic(path)) if notifying else {}
        return sql.append_in_one(keyed=keyed, notifying=notifying), {**parameters, **extra}

    def wake(self, path: str) -> None:
        """Tell whoever waits on this stream, once what was written is committed."""
        self._scope.after_commit(lambda: self._scope.signals.publish(event_topic(path)))

    def _check_path(self, path: str) -> None:
        self._scope.dialect.check_key("event_path", require_storable(path, "path"))


def _check_open(path: str, stream: sa.Row[Any] | None) -> None:
    if stream is None:
        raise StreamMissingError(f'[flue] Event stream "{path}" does not exist.', meta={"path": path}, remedy="Create the stream first.")
    if stream.closed:
        raise StreamClosedError(f'[flue] Event stream "{path}" is closed.', meta={"path": path})


def _parsed(path: str, seq: int, data: str) -> Any:
    try:
        return parse_json(data)
    except ValueError as error:
        raise MalformedRowError(
            f'[flue] Persisted event {format_offset(seq)} of "{path}" is malformed.', meta={"path": path, "offset": format_offset(seq)}
        ) from error
