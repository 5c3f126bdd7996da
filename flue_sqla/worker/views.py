"""Folded streams: what the worker knows of a conversation, kept between submissions and caught up before each use."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from flue_sqla.conversation import ConversationState
from flue_sqla.errors import ConversationRecordInvariantError
from flue_sqla.records.conversation import StreamPage
from flue_sqla.worker.bridge import Bridge

__all__ = ["View", "Views"]

_PAGE: Final = 100
_KEPT: Final = 128


@dataclass(slots=True)
class View:
    """One stream as far as it was read: ``state`` is the fold of everything up to ``offset``."""

    path: str
    offset: str = "-1"
    state: ConversationState = field(default_factory=ConversationState)


class Views:
    """The views of the streams used last. A view belongs to one attempt at a time: sessions run one submission after the other."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._views: OrderedDict[str, View] = OrderedDict()

    async def current(self, path: str) -> View:
        """The stream folded up to its head as of now; an unknown stream is an empty view.

        Raises:
            ConversationRecordInvariantError: no Flue server would read this stream.
        """
        view = self._views.pop(path, None) or View(path)
        try:
            view = await self._catch_up(view)
        except ConversationRecordInvariantError:
            if view.state.rules != "2.0":
                raise
            # The two releases of Flue contradict each other on calls in a final message; one of them has to agree.
            view = await self._catch_up(View(path, state=ConversationState(rules="2.1")))
        self._views[path] = view
        while len(self._views) > _KEPT:
            self._views.popitem(last=False)
        return view

    def forget(self, path: str) -> None:
        """Drop a view that may hold what never reached the stream."""
        self._views.pop(path, None)

    async def _catch_up(self, view: View) -> View:
        conversations = self._bridge.flue.conversations
        while True:
            page: StreamPage = await self._bridge.call(conversations.read, view.path, offset=view.offset, limit=_PAGE)
            for batch in page.batches:
                view.state.apply_batch(batch.records)
                view.offset = batch.offset
            if page.up_to_date or not page.batches:
                return view
            # A long stream is folded in pieces, so that the host's event loop gets its turn.
            await asyncio.sleep(0)
