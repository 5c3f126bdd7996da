"""A server for a benchmark: the one at a URL, or one of its own as the tests start it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["postgres"]


@contextmanager
def postgres(url: str | None) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    if url is not None:
        yield url
        return
    from tests.databases.servers import Servers

    servers = Servers()
    try:
        yield servers.get("postgres").create_database().url
    finally:
        servers.close()
