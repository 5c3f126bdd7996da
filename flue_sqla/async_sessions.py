"""The session repository, awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy.util import greenlet_spawn

from flue_sqla.awaited import AsyncRepository, awaited, cancellations, raise_swallowed, spawned
from flue_sqla.repositories.sessions import Sessions

__all__ = ["AsyncSessions"]


@dataclass
class _Deletion:
    """One that is under way, and how many callers wait for it."""

    task: asyncio.Task[None]
    waiting: int = 0


class AsyncSessions(AsyncRepository[Sessions]):
    """:class:`~flue_sqla.repositories.sessions.Sessions`, awaited."""

    save = awaited(Sessions.save)
    load = awaited(Sessions.load)
    delete = awaited(Sessions.delete)
    append = awaited(Sessions.append)
    tail = awaited(Sessions.tail)
    context = awaited(Sessions.context)
    delete_documents = awaited(Sessions.delete_documents)
    list_pending_deletions = awaited(Sessions.list_pending_deletions)

    def __init__(self, repository: Sessions) -> None:
        super().__init__(repository)
        self._deletions: dict[str, _Deletion] = {}

    async def delete_tree(self, session_key: str, delete_tree: Callable[[], Awaitable[object]] | None = None) -> None:
        """As :meth:`Sessions.delete_tree`, with an asynchronous callback.

        Cancelled before the callback ended, it takes the marker back, unless another caller waits for the same deletion.
        """
        deletion = self._deletions.get(session_key)
        if deletion is None or deletion.task.get_loop() is not asyncio.get_running_loop():
            deletion = _Deletion(asyncio.create_task(self._delete_tree(session_key, delete_tree)))
            self._deletions[session_key] = deletion
            deletion.task.add_done_callback(lambda task: self._forget(session_key, task))
        deletion.waiting += 1
        try:
            await asyncio.shield(deletion.task)
        except asyncio.CancelledError:
            if deletion.waiting == 1 and not deletion.task.done():
                deletion.task.cancel()
                await asyncio.wait([deletion.task])
            raise
        finally:
            deletion.waiting -= 1

    async def _delete_tree(self, session_key: str, delete_tree: Callable[[], Awaitable[object]] | None) -> None:
        steps = self.sync.deletion(session_key)
        before = cancellations()
        await greenlet_spawn(steps.start)
        try:
            raise_swallowed(before)  # only from here on is there somebody to give up
            await spawned(steps.look_again)
            await (delete_tree() if delete_tree is not None else self.delete_documents(session_key))
        except BaseException:
            # Shielded: a second cancellation must not leave the marker behind.
            if not steps.refused:
                await asyncio.shield(asyncio.ensure_future(greenlet_spawn(steps.give_up)))
            raise
        await spawned(steps.finish)

    def _forget(self, session_key: str, task: asyncio.Task[None]) -> None:
        deletion = self._deletions.get(session_key)
        if deletion is not None and deletion.task is task:
            del self._deletions[session_key]
        if not task.cancelled():
            task.exception()  # whoever waited has been told; nobody waiting is no reason to warn
