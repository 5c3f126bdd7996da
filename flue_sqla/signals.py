"""Wake-ups: who waits for what, inside this process and (where the database can) across processes.

A *topic* is any text: a stream's path, an agent's queue, a submission's outcome. What crosses processes is its fixed-length hash, since
names have any length and a notification has not. A wake-up carries no data and promises nothing: whoever wakes looks at the database.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable

from flue_sqla.forking import reset_in_child

__all__ = [
    "QUEUE_TOPIC",
    "Listener",
    "Signals",
    "channel_name",
    "event_topic",
    "settled_topic",
    "stream_topic",
    "topic_payload",
]

log = logging.getLogger("flue_sqla.signals")

Listener = Callable[[], None]


QUEUE_TOPIC = "queue"
"""Work was admitted or became claimable. One topic for all agents: most transitions know the submission, not its agent."""


def stream_topic(path: str) -> str:
    """Something was appended to the stream at ``path``."""
    return f"stream:{path}"


def event_topic(path: str) -> str:
    """Something was appended to the event stream at ``path``, or it was closed."""
    return f"events:{path}"


def settled_topic(submission_id: str) -> str:
    """The submission has its outcome."""
    return f"settled:{submission_id}"


def topic_payload(topic: str) -> str:
    """The 16 hex digits by which a topic is known in other processes."""
    return hashlib.blake2b(topic.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def channel_name(schema: str | None) -> str:
    """The one notification channel of a database schema; within PostgreSQL's 63 bytes whatever the schema's name."""
    return "flue_" + topic_payload(f"schema:{schema or ''}")


class _Ticket:
    """The identity of one subscription, so that one listener may subscribe twice."""

    __slots__ = ("remote",)

    def __init__(self, remote: bool) -> None:
        self.remote = remote


class Signals:
    """The waiters of one Flue. Safe for many threads; a listener is called on the thread that woke it and must not block."""

    def __init__(self, schema: str | None = None, *, notify: bool = True) -> None:
        self.channel = channel_name(schema)
        self.notify = notify
        self._lock = threading.Lock()
        self._listeners: dict[str, dict[_Ticket, Listener]] = {}
        reset_in_child(self)

    def forget_parent(self) -> None:
        """In a forked child: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()

    def subscribe(self, topic: str, listener: Listener, *, remote: bool = False) -> Callable[[], None]:
        """Call ``listener`` at each wake-up of ``topic``; the returned function removes just that listener.

        With ``remote`` also at those that come from other processes. Our own come back that way too, so such a listener may be called
        twice for one event; without it, exactly once for each event of this process.
        """
        payload = topic_payload(topic)
        ticket = _Ticket(remote)
        with self._lock:
            self._listeners.setdefault(payload, {})[ticket] = listener

        def unsubscribe() -> None:
            with self._lock:
                listeners = self._listeners.get(payload, {})
                listeners.pop(ticket, None)
                if not listeners:
                    self._listeners.pop(payload, None)

        return unsubscribe

    def publish(self, topic: str) -> None:
        """Wake this process's listeners of ``topic``. Call it after the commit, never before."""
        if not self._listeners:
            return
        with self._lock:
            listeners = list(self._listeners.get(topic_payload(topic), {}).values())
        self._call(listeners)

    def wake(self, payload: str) -> None:
        """Wake the ``remote`` listeners of a topic by its payload: a notification came."""
        with self._lock:
            listeners = [listener for ticket, listener in self._listeners.get(payload, {}).items() if ticket.remote]
        self._call(listeners)

    def wake_all(self) -> None:
        """Wake every ``remote`` listener: a notification may have been missed."""
        with self._lock:
            entries = [entry for listeners in self._listeners.values() for entry in listeners.items()]
        self._call([listener for ticket, listener in entries if ticket.remote])

    def _call(self, listeners: list[Listener]) -> None:
        for listener in listeners:
            try:
                listener()
            except Exception:
                # A listener's failure must not undo or hide the append that caused it (spec/streams.md §3.7).
                log.exception("A listener raised.")
