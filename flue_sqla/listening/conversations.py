"""``follow`` on the conversation repositories of a Flue; units and bound sessions have none, since they see only their own moment."""

from __future__ import annotations

from flue_sqla.async_repositories import AsyncConversations
from flue_sqla.listening.following import AsyncFollowing, Following, Step
from flue_sqla.listening.hub import AsyncListening, Listening
from flue_sqla.records.conversation import StreamBatch, StreamPage
from flue_sqla.repositories.conversations import Conversations
from flue_sqla.repositories.scope import Scope
from flue_sqla.signals import stream_topic
from flue_sqla.wire import parse_offset

__all__ = ["AsyncLiveConversations", "LiveConversations"]


class LiveConversations(Conversations):
    """:class:`~flue_sqla.repositories.conversations.Conversations` with ``follow``."""

    def __init__(self, scope: Scope, listening: Listening) -> None:
        super().__init__(scope)
        self._listening = listening

    def follow(
        self, path: str, offset: str = "-1", *, limit: int | None = None, idle_timeout_ms: int | None = None
    ) -> Following[StreamBatch]:
        """Yield the batches after ``offset``, then those that any process appends, as they come.

        A stream that does not exist yet is waited for. Wakes at once for appends of this process and, on PostgreSQL, of every other one;
        elsewhere, and for a Node server's appends, after a poll interval at most. Survives a restart of the database.

        Args:
            path: the stream.
            offset: ``-1`` for the beginning, ``now`` for what comes from now on, or the last offset seen.
            limit: batches read at once; default 100, at most 1 000.
            idle_timeout_ms: end the iteration when nothing came for so long; default never.

        Returns:
            An iterator with ``close()``, also a context manager. It ends when it or the Flue is closed.

        Raises:
            InvalidInputError: not an offset.
            ConversationStreamStoreError: from the iterator, as :meth:`read`.
        """
        _check_offset(offset)
        return Following(
            self._listening,
            stream_topic(path),
            lambda after: self.read(path, offset=after, limit=limit),
            step,
            offset=offset,
            idle_timeout_ms=idle_timeout_ms,
        )


class AsyncLiveConversations(AsyncConversations):
    """:class:`~flue_sqla.async_repositories.AsyncConversations` with ``follow``."""

    def __init__(self, repository: Conversations, listening: AsyncListening) -> None:
        super().__init__(repository)
        self._listening = listening

    def follow(
        self, path: str, offset: str = "-1", *, limit: int | None = None, idle_timeout_ms: int | None = None
    ) -> AsyncFollowing[StreamBatch]:
        """As :meth:`LiveConversations.follow`, for ``async for``; a plain call that returns the iterator, with ``aclose()``."""
        _check_offset(offset)
        return AsyncFollowing(
            self._listening,
            stream_topic(path),
            lambda after: self.read(path, offset=after, limit=limit),
            step,
            offset=offset,
            idle_timeout_ms=idle_timeout_ms,
        )


def step(offset: str, page: StreamPage) -> Step[StreamBatch]:
    """Hand out the page's batches and go on after the last one."""
    if page.batches:
        return Step(page.batches, page.batches[-1].offset)
    # The page of a stream that is not there (yet) says -1, which must not move a follower that waits for more than it.
    return Step((), page.next_offset if offset == "now" else offset)


def _check_offset(offset: str) -> None:
    if offset != "now":
        parse_offset(offset)
