"""``follow`` on the event repositories of a Flue; units and bound sessions have none, since they see only their own moment."""

from __future__ import annotations

from flue_sqla.async_events import AsyncEvents
from flue_sqla.listening.following import AsyncFollowing, Following, Step
from flue_sqla.listening.hub import AsyncListening, Listening
from flue_sqla.records.event import EventPage, StoredEvent
from flue_sqla.repositories.events import Events
from flue_sqla.repositories.scope import Scope
from flue_sqla.signals import event_topic
from flue_sqla.wire import parse_offset

__all__ = ["AsyncLiveEvents", "LiveEvents"]


class LiveEvents(Events):
    """:class:`~flue_sqla.repositories.events.Events` with ``follow``."""

    def __init__(self, scope: Scope, listening: Listening) -> None:
        super().__init__(scope)
        self._listening = listening

    def follow(
        self, path: str, offset: str = "-1", *, limit: int | None = None, idle_timeout_ms: int | None = None
    ) -> Following[StoredEvent]:
        """Yield the events after ``offset``, then those that any process appends, as they come, until the last one of a closed stream.

        A stream that does not exist yet is waited for. Wakes at once for appends of this process and, on PostgreSQL, of every other one;
        elsewhere after a poll interval at most. Survives a restart of the database.

        Args:
            path: the stream.
            offset: ``-1`` for the beginning, ``now`` for what comes from now on, or the last offset seen.
            limit: events read at once; default 100, at most 1 000.
            idle_timeout_ms: end the iteration when nothing came for so long; default never.

        Returns:
            An iterator with ``close()``, also a context manager.

        Raises:
            InvalidInputError: not an offset.
        """
        _check_offset(offset)
        return Following(
            self._listening,
            event_topic(path),
            lambda after: self.read(path, offset=after, limit=limit),
            step,
            offset=offset,
            idle_timeout_ms=idle_timeout_ms,
        )


class AsyncLiveEvents(AsyncEvents):
    """:class:`~flue_sqla.async_events.AsyncEvents` with ``follow``."""

    def __init__(self, repository: Events, listening: AsyncListening) -> None:
        super().__init__(repository)
        self._listening = listening

    def follow(
        self, path: str, offset: str = "-1", *, limit: int | None = None, idle_timeout_ms: int | None = None
    ) -> AsyncFollowing[StoredEvent]:
        """As :meth:`LiveEvents.follow`, for ``async for``; a plain call that returns the iterator, with ``aclose()``."""
        _check_offset(offset)
        return AsyncFollowing(
            self._listening,
            event_topic(path),
            lambda after: self.read(path, offset=after, limit=limit),
            step,
            offset=offset,
            idle_timeout_ms=idle_timeout_ms,
        )


def step(offset: str, page: EventPage) -> Step[StoredEvent]:
    """Hand out the page's events; nothing follows the last one of a closed stream."""
    ended = page.closed and page.up_to_date
    if page.events:
        return Step(page.events, page.events[-1].offset, ended)
    # The page of a stream that is not there (yet) says -1, which must not move a follower that waits for more than it.
    return Step((), page.next_offset if offset == "now" else offset, ended)


def _check_offset(offset: str) -> None:
    if offset != "now":
        parse_offset(offset)
