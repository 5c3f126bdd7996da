"""Wake-ups: who waits for what, inside this process and (where the database can) across processes.

A *topic* is any text: a stream's path, an agent's queue, a submission's outcome. What crosses processes is its fixed-length hash, since
names have any length and a notification has not. A wake-up carries no data and promises nothing: whoever wakes looks at the database.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable

__all__ = [
    "QUEUE_TOPIC",
    "Listener",
    "Signals",
    "channel_name",
    "event_topic",
    "local_topic",
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


def local_topic(topic: str) -> str:
    """As ``topic``, but never told by another process: whoever counts wake-ups hears each one once (spec/streams.md §3.7)."""
    return f"local:{topic}"


def settled_topic(submission_id: str) -> str:
    """The submission has its outcome."""
    return f"settled:{submission_id}"


def topic_payload(topic: str) -> str:
    """The 16 hex digits by which a topic is known in other processes."""
    return hashlib.blake2b(topic.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def channel_name(schema: str | None) -> str:
    """The one notification channel of a database schema; within PostgreSQL's 63 bytes whatever the schema's name."""
    return "flue_" + topic_payload(f"schema:{schema or ''}")


class Signals:
    """The waiters of one Flue. Safe for many threads; a listener is called on the thread that woke it and must not block."""

    def __init__(self, schema: str | None = None, *, notify: bool = True) -> None:
        self.channel = channel_name(schema)
        self.notify = notify
        self._lock = threading.Lock()
        self._listeners: dict[str, dict[object, Listener]] = {}

    def subscribe(self, topic: str, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` at each wake-up of ``topic``; the returned function removes just that listener."""
        payload = topic_payload(topic)
        ticket = object()  # an identity of its own, so that one listener may subscribe twice
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
        self.wake(topic_payload(topic))

    def wake(self, payload: str) -> None:
        """As :meth:`publish`, for a payload that came from another process."""
        with self._lock:
            listeners = list(self._listeners.get(payload, {}).values())
        self._call(listeners)

    def wake_all(self) -> None:
        """Wake everybody: something may have been missed."""
        with self._lock:
            listeners = [listener for entries in self._listeners.values() for listener in entries.values()]
        self._call(listeners)

    def _call(self, listeners: list[Listener]) -> None:
        for listener in listeners:
            try:
                listener()
            except Exception:
                # A listener's failure must not undo or hide the append that caused it (spec/streams.md §3.7).
                log.exception("A listener raised.")
