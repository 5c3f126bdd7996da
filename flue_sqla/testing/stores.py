"""``Stores``: the one object that every test of the conformance suite works with.

It is the same for a :class:`~flue_sqla.Flue`, an ``AsyncFlue`` (each call is awaited on a private event loop) and the in-memory
reference model, so the suite is written once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

import sqlalchemy as sa

from flue_sqla.testing.clock import ManualClock
from flue_sqla.testing.portal import AwaitedSessions, AwaitedStore, Portal
from flue_sqla.testing.rows import DatabaseRows

if TYPE_CHECKING:
    from flue_sqla import Flue
    from flue_sqla.asyncio import AsyncFlue
    from flue_sqla.testing.ports import (
        AttachmentStore,
        ConversationStore,
        EventStore,
        JournalStore,
        RawRows,
        RunStore,
        SessionStore,
        SubmissionStore,
    )

__all__ = ["Outcome", "Profile", "Stores"]

T = TypeVar("T")
Profile = Literal["postgres", "mysql", "sqlite", "memory"]


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What one of several concurrent calls came to: a value, or the error that it raised."""

    value: T | None = None
    error: BaseException | None = None

    @property
    def raised(self) -> bool:
        return self.error is not None

    def unwrap(self) -> T:
        """The value; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return cast(T, self.value)


@dataclass
class Stores:
    """The repositories under test, the clock that they read, and the rows behind them.

    ``boot`` migrates (or adopts, or refuses) the database as an application's start would; ``None`` where there is nothing to boot.
    ``profile`` is the physical layout of spec/schema.md; some behaviours, such as SQLite's spilled batches, exist in one only.
    """

    submissions: SubmissionStore
    conversations: ConversationStore
    attachments: AttachmentStore
    sessions: SessionStore
    journals: JournalStore
    runs: RunStore
    events: EventStore
    clock: ManualClock
    rows: RawRows
    profile: Profile
    boot: Callable[[], None] | None = None
    run_on_connection: Callable[[Callable[[sa.Connection], Any]], Any] | None = None
    _closers: list[Callable[[], None]] = field(default_factory=list, repr=False)

    @classmethod
    def of(cls, flue: Flue, clock: ManualClock, *, engine: sa.Engine | None = None, schema: str | None = None) -> Stores:
        """Wraps a synchronous ``Flue`` that was built with ``clock=clock``.

        ``engine`` reads and damages raw rows; without it one is made from the URL of the Flue's own engine. Neither the Flue nor a
        given engine is closed by :meth:`close`.
        """
        # An in-memory database lives in its one connection; everything else is looked at through an engine of our own.
        shared = engine if engine is not None else flue.engine if _in_memory(flue.engine.url) else None
        own = shared if shared is not None else sa.create_engine(flue.engine.url)

        def run(work: Callable[[sa.Connection], T], /) -> T:
            with own.begin() as connection:
                return work(connection)

        closers: list[Callable[[], None]] = [lambda: own.dispose()] if shared is None else []
        return cls(
            submissions=flue.submissions,
            conversations=flue.conversations,
            attachments=flue.attachments,
            sessions=flue.sessions,
            journals=flue.journals,
            runs=flue.runs,
            events=flue.events,
            clock=clock,
            rows=DatabaseRows(run, schema),
            profile=_profile(own.dialect.name),
            boot=lambda: _discard(flue.boot()),
            run_on_connection=run,
            _closers=closers,
        )

    @classmethod
    def of_async(cls, flue: AsyncFlue, clock: ManualClock, portal: Portal, *, schema: str | None = None) -> Stores:
        """Wraps an ``AsyncFlue`` that was built with ``clock=clock``; everything of it runs on the loop of ``portal``."""
        from sqlalchemy.ext.asyncio import create_async_engine

        shared = _in_memory(flue.engine.url)
        # A loop of their own for the raw rows: a test may hold a row there while the store under test waits for it here.
        rows_portal = portal if shared else Portal()
        own = flue.engine if shared else create_async_engine(flue.engine.url)

        def run(work: Callable[[sa.Connection], T], /) -> T:
            async def begin() -> T:
                async with own.begin() as connection:
                    return await connection.run_sync(work)

            return rows_portal.run(begin())

        return cls(
            submissions=cast("SubmissionStore", AwaitedStore(flue.submissions, portal)),
            conversations=cast("ConversationStore", AwaitedStore(flue.conversations, portal)),
            attachments=cast("AttachmentStore", AwaitedStore(flue.attachments, portal)),
            sessions=cast("SessionStore", AwaitedSessions(flue.sessions, portal)),
            journals=cast("JournalStore", AwaitedStore(flue.journals, portal)),
            runs=cast("RunStore", AwaitedStore(flue.runs, portal)),
            events=cast("EventStore", AwaitedStore(flue.events, portal)),
            clock=clock,
            rows=DatabaseRows(run, schema),
            profile=_profile(own.dialect.name),
            boot=lambda: _discard(portal.run(flue.boot())),
            run_on_connection=run,
            _closers=[] if shared else [rows_portal.close, lambda: rows_portal.run(own.dispose())],
        )

    def concurrently(self, *calls: Callable[[], T]) -> list[Outcome[T]]:
        """Starts all calls at once and waits for them; the outcomes are in the order of the calls.

        Each call has a thread of its own. On the asynchronous face the threads hand their coroutines to one event loop, where they
        run side by side as the tasks of ``asyncio.gather`` would. The memory model serialises them.
        """
        outcomes: list[Outcome[T]] = [Outcome() for _ in calls]
        start = threading.Barrier(len(calls))

        def run(index: int, call: Callable[[], T]) -> None:
            start.wait()
            try:
                outcomes[index] = Outcome(value=call())
            except BaseException as error:  # an outcome like any other: the test decides what it means
                outcomes[index] = Outcome(error=error)

        threads = [threading.Thread(target=run, args=(index, call), daemon=True) for index, call in enumerate(calls)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return outcomes

    def close(self) -> None:
        """Closes what this object opened for itself; the stores under test belong to the caller."""
        while self._closers:
            self._closers.pop()()


def _profile(dialect_name: str) -> Profile:
    return cast(Profile, {"postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql"}.get(dialect_name, dialect_name))


def _in_memory(url: sa.URL) -> bool:
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def _discard(_result: object) -> None:
    return None
