"""``AsyncFlue``: the same names as :class:`~flue_sqla.flue.Flue`, awaited."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.util import greenlet_spawn

from flue_sqla.admission import outcome_of
from flue_sqla.artifacts import AsyncArtifacts
from flue_sqla.async_events import AsyncEvents
from flue_sqla.async_repositories import AsyncAttachments, AsyncConversations, AsyncJournals, AsyncSubmissions
from flue_sqla.async_runs import AsyncRuns
from flue_sqla.async_sessions import AsyncSessions
from flue_sqla.awaited import cancellations, raise_swallowed, spawned
from flue_sqla.clock import Clock
from flue_sqla.dialects.engines import create_async_engine
from flue_sqla.errors import ConfigurationError
from flue_sqla.flue import Flue, Repositories, not_settled
from flue_sqla.listening import AsyncListening
from flue_sqla.listening.conversations import AsyncLiveConversations
from flue_sqla.listening.events import AsyncLiveEvents
from flue_sqla.maintenance import AsyncMaintenance
from flue_sqla.records.outcome import DispatchReceipt, Outcome
from flue_sqla.records.unset import UNSET, UnsetType
from flue_sqla.settings import FlueSettings
from flue_sqla.signals import settled_topic

if TYPE_CHECKING:
    from flue_sqla.schema.verdict import Verdict

__all__ = ["AsyncFlue", "AsyncRepositories", "AsyncUnit"]


class AsyncRepositories:
    """The awaited repositories over one synchronous set."""

    def __init__(self, sync: Repositories) -> None:
        self.sync = sync

    @cached_property
    def submissions(self) -> AsyncSubmissions:
        """Accepted prompts and dispatches, from admission to outcome."""
        return AsyncSubmissions(self.sync.submissions)

    @cached_property
    def conversations(self) -> AsyncConversations:
        """Conversation streams with fenced producers."""
        return AsyncConversations(self.sync.conversations)

    @cached_property
    def attachments(self) -> AsyncAttachments:
        """Immutable attachments of conversations."""
        return AsyncAttachments(self.sync.attachments)

    @cached_property
    def sessions(self) -> AsyncSessions:
        """Session documents of messages and compactions."""
        return AsyncSessions(self.sync.sessions)

    @cached_property
    def journals(self) -> AsyncJournals:
        """Turn journals, buffered stream segments and attempt markers."""
        return AsyncJournals(self.sync.journals)

    @cached_property
    def runs(self) -> AsyncRuns:
        """Workflow runs and their index."""
        return AsyncRuns(self.sync.runs)

    @cached_property
    def events(self) -> AsyncEvents:
        """Event streams of workflow runs."""
        return AsyncEvents(self.sync.events)

    @cached_property
    def artifacts(self) -> AsyncArtifacts:
        """Files of any size in the artifact store."""
        return AsyncArtifacts(self.sync._scope, self.sync._stores, self.sync._own)

    async def dispatch(
        self,
        agent: str,
        *,
        id: str,
        message: str | Mapping[str, Any],
        idempotency_key: str | None = None,
        initial_data: Any = UNSET,
        uid: str | UnsetType | None = UNSET,
    ) -> DispatchReceipt:
        """As :meth:`Flue.dispatch <flue_sqla.flue.Repositories.dispatch>`."""
        given = {"message": message, "idempotency_key": idempotency_key, "initial_data": initial_data, "uid": uid}
        return await spawned(self.sync.dispatch, agent, id=id, **given)


class AsyncUnit(AsyncRepositories):
    """Several awaited calls in one transaction."""


class AsyncFlue(AsyncMaintenance, AsyncRepositories):
    """:class:`~flue_sqla.flue.Flue` for ``asyncio``; arguments as there, with an ``AsyncEngine``. Belongs to one event loop at a time."""

    sync: Flue

    def __init__(
        self,
        url: str | sa.URL | None = None,
        *,
        engine: AsyncEngine | None = None,
        artifacts: str | None = None,
        schema: str | None = None,
        settings: FlueSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        if engine is not None and not isinstance(engine, AsyncEngine):
            raise ConfigurationError(
                f"An AsyncFlue needs an AsyncEngine, found {type(engine).__name__}.", remedy="Give an Engine to flue_sqla.Flue."
            )
        if url is not None and engine is not None:
            raise ConfigurationError("Both a URL and an engine were given.", remedy="Give one of them.")
        settings = settings or FlueSettings()
        self._owns_engine = engine is None
        self.engine = engine if engine is not None else create_async_engine(url if url is not None else settings.database_url)
        sync = Flue(engine=self.engine.sync_engine, artifacts=artifacts, schema=schema, settings=settings, clock=clock)
        super().__init__(sync)
        #: Where tasks wait for what others do: ``async with flue.listener.waiter(topic) as waiter: await waiter.wait()``.
        self.listener = AsyncListening(
            sync.engine, sync.dialect, sync.signals, poll_interval_ms=settings.poll_interval_ms, listen_url=settings.listen_url
        )

    @classmethod
    def from_settings(cls, settings: FlueSettings | None = None) -> Self:
        """As :meth:`Flue.from_settings`."""
        return cls(settings=settings or FlueSettings.from_env())

    @property
    def settings(self) -> FlueSettings:
        """The settings in force."""
        return self.sync.settings

    @property
    def clock(self) -> Clock:
        """Where this Flue's time comes from."""
        return self.sync.clock

    @cached_property
    def conversations(self) -> AsyncLiveConversations:
        """Conversation streams with fenced producers."""
        return AsyncLiveConversations(self.sync.conversations, self.listener)

    @cached_property
    def events(self) -> AsyncLiveEvents:
        """Event streams of workflow runs."""
        return AsyncLiveEvents(self.sync.events, self.listener)

    async def wait(self, submission_id: str, timeout: float | None = None) -> Outcome:  # noqa: ASYNC109 -- the same name on both faces
        """As :meth:`Flue.wait`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        look = partial(outcome_of, self.sync.submissions, self.sync.conversations, submission_id)
        async with self.listener.waiter(settled_topic(submission_id)) as waiter:
            while True:
                outcome = await spawned(look)
                if outcome is not None:
                    return outcome
                left = None if deadline is None else deadline - time.monotonic()
                if waiter.ended or (left is not None and left <= 0):
                    raise not_settled(submission_id, timeout)
                await waiter.wait(left)

    async def boot(self) -> Verdict:
        """As :meth:`Flue.boot`."""
        return await spawned(self.sync.boot)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncUnit]:
        """As :meth:`Flue.begin`."""
        unit = self.sync.begin()
        before = cancellations()
        entered = await greenlet_spawn(unit.__enter__)
        try:
            raise_swallowed(before)  # only from here on is there somebody to roll back
            yield AsyncUnit(entered)
        except BaseException:
            # Shielded: a second cancellation must not leave the connection in the middle of its rollback.
            if not await asyncio.shield(asyncio.ensure_future(greenlet_spawn(unit.__exit__, *sys.exc_info()))):
                raise
        else:
            await spawned(unit.__exit__, None, None, None)

    def bind(self, target: AsyncSession | AsyncConnection) -> AsyncUnit:
        """As :meth:`Flue.bind`, for an ``AsyncSession`` or ``AsyncConnection``."""
        sync_target = target.sync_session if isinstance(target, AsyncSession) else target.sync_connection
        if sync_target is None:
            raise ConfigurationError("The connection has not been started.", remedy="Use `async with engine.connect() as connection`.")
        return AsyncUnit(self.sync.bind(sync_target))

    async def close(self) -> None:
        """As :meth:`Flue.close`."""
        await self.listener.close()
        await self.sync._stores.aclose()
        if self._owns_engine:
            await self.engine.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.engine.url.render_as_string(hide_password=True)}>"
