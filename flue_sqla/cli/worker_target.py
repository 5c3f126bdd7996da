"""From MODULE:WORKER to a worker, and whether it is the one that the command line speaks of."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from flue_sqla.dialects.engines import normalize_url
from flue_sqla.dialects.sqlite_file import file_of
from flue_sqla.errors import ConfigurationError
from flue_sqla.models import profile_of

if TYPE_CHECKING:
    import sqlalchemy as sa

    from flue_sqla.worker import Worker

__all__ = ["made", "warn_of_another_place"]

log = logging.getLogger("flue_sqla.cli")

_WORKER_OR_MAKER = "Name a flue_sqla.worker.Worker, or a function without arguments that makes one."


async def made(target: str) -> Worker:
    """The worker that ``target`` names; a function is called here, on the loop on which its worker will live.

    Raises:
        ConfigurationError: there is no such module or attribute, or it is no worker and makes none.
    """
    from flue_sqla.worker import Worker

    found = _named(target)
    if not isinstance(found, Worker):
        _refuse_unless_maker(target, found)
        found = found()
        if asyncio.iscoroutine(found):
            found = await found
    if not isinstance(found, Worker):
        raise ConfigurationError(f"{target} makes no Worker, but something of type {type(found).__name__}.", remedy=_WORKER_OR_MAKER)
    return found


def warn_of_another_place(worker: Worker, url: str | None, schema: str | None) -> None:
    """Log a warning where the application did not take over the database or the schema of the command line."""
    from flue_sqla.asyncio import AsyncFlue

    flue = worker.flue.sync if isinstance(worker.flue, AsyncFlue) else worker.flue
    if url is not None and _place(normalize_url(url)) != _place(flue.engine.url):
        log.warning(
            "--url names %s, but the worker's Flue uses %s. The application does not read DATABASE_URL; Flue.from_settings() does.",
            *(each.set(query={}).render_as_string(hide_password=True) for each in (normalize_url(url), flue.engine.url)),
        )
    if schema is not None and schema != flue.schema:
        log.warning(
            "--schema names %r, but the worker's Flue uses %r. The application does not read FLUE_SCHEMA; Flue.from_settings() does.",
            schema,
            flue.schema,
        )


def _place(url: sa.URL) -> tuple[object, ...]:
    """What makes two URLs the same database for the same user, whatever their drivers."""
    return profile_of(url.get_backend_name()), url.username, url.host, url.port, file_of(url) or url.database


def _named(target: str) -> Any:
    module_name, _, attribute = target.partition(":")
    if not module_name or module_name.startswith(".") or not attribute:
        raise ConfigurationError(f"{target!r} does not name a worker.", remedy="Write MODULE:WORKER, for example orders.worker:worker.")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigurationError(
            f"{module_name} cannot be imported: {error}.",
            remedy="Run the command where `python -c 'import …'` finds the module and everything that it needs.",
        ) from error
    try:
        for name in attribute.split("."):
            found = getattr(found, name)
    except AttributeError as error:
        raise ConfigurationError(f"There is no {target}: {error}.", remedy=_WORKER_OR_MAKER) from error
    return found


def _refuse_unless_maker(target: str, found: Any) -> None:
    if not callable(found):
        raise ConfigurationError(f"{target} is no Worker, but of type {type(found).__name__}.", remedy=_WORKER_OR_MAKER)
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        raise ConfigurationError(f"{target} cannot be called without arguments: {error}.", remedy=_WORKER_OR_MAKER) from error
    except ValueError:
        pass  # a callable that does not tell its arguments
