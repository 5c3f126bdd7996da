"""In-process subscriptions (spec/streams.md §3.7)."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Listeners"]

Listener = Callable[[], None]


class Listeners:
    """Listeners by path; what they raise is their own problem."""

    def __init__(self) -> None:
        self._by_path: dict[str, list[Listener]] = {}

    def subscribe(self, path: str, listener: Listener, /) -> Callable[[], None]:
        mine = self._by_path.setdefault(path, [])
        mine.append(listener)

        def unsubscribe() -> None:
            if listener in mine:
                mine.remove(listener)

        return unsubscribe

    def notify(self, path: str) -> None:
        for listener in list(self._by_path.get(path, ())):
            try:
                listener()
            except Exception:
                continue
