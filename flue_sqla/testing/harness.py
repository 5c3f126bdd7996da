"""Opens a database for the conformance suite, and empties it between tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy.engine import make_url

from flue_sqla.errors import ConfigurationError
from flue_sqla.testing.clock import DEFAULT_NOW, ManualClock
from flue_sqla.testing.model.database import MemoryDatabase
from flue_sqla.testing.portal import Portal
from flue_sqla.testing.rows import DatabaseRows
from flue_sqla.testing.stores import Stores

__all__ = ["empty", "open_stores"]


@contextmanager
def open_stores(url: str, *, schema: str | None = None, boot: bool = True) -> Iterator[Stores]:
    """Stores on the database of ``url``, on the face that its driver is made for; closed on leaving.

    ``boot`` migrates the database first. Raises :class:`~flue_sqla.errors.ConfigurationError` if a ``flue_*`` table already holds rows:
    the suite deletes them all.
    """
    clock = ManualClock()
    with ExitStack() as stack:
        opened = _open(stack, url, schema, clock)
        if boot and opened.boot is not None:
            opened.boot()
        _refuse_to_erase(opened)
        yield opened


def _open(stack: ExitStack, url: str, schema: str | None, clock: ManualClock) -> Stores:
    if not make_url(url).get_dialect().is_async:
        from flue_sqla import Flue

        flue = Flue(url, schema=schema, clock=clock)
        stack.callback(flue.close)
        opened = Stores.of(flue, clock, schema=schema)
    else:
        from flue_sqla.asyncio import AsyncFlue

        portal = Portal()
        stack.callback(portal.close)
        aflue = AsyncFlue(url, schema=schema, clock=clock)
        stack.callback(lambda: portal.run(aflue.close()))
        opened = Stores.of_async(aflue, clock, portal, schema=schema)
    stack.callback(opened.close)
    return opened


def _refuse_to_erase(opened: Stores) -> None:
    occupied = opened.rows.occupied() if isinstance(opened.rows, DatabaseRows) else []
    if occupied:
        raise ConfigurationError(
            f"The conformance suite deletes every row between its tests, and this database holds rows in {', '.join(occupied)}.",
            meta={"tables": occupied},
            remedy="Point --flue-url at a database made for this run.",
        )


def empty(stores: Stores) -> None:
    """Deletes every row, stamps excepted, and puts the clock back to its first minute."""
    if isinstance(stores.rows, DatabaseRows):
        stores.rows.erase_everything()
    elif isinstance(stores.rows, MemoryDatabase):
        stores.rows.clear()
    stores.clock.set(DEFAULT_NOW)
