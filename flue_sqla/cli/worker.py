"""``flue-sqla worker``: a process that is nothing but a worker of an application."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from flue_sqla.cli.base import Invocation, command, pass_invocation
from flue_sqla.cli.exits import Exit
from flue_sqla.cli.log_lines import configure
from flue_sqla.errors import ConfigurationError

if TYPE_CHECKING:
    from flue_sqla.worker import Worker

__all__ = ["worker"]


@command("worker")
@click.argument("target", metavar="MODULE:WORKER")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="One line per event.")
@pass_invocation
def worker(call: Invocation, target: str, log_level: str, log_format: str) -> Exit:
    """Run the worker that MODULE:WORKER names: a Worker, or a function that makes one.

    The module is imported from the current folder too. SIGTERM and SIGINT stop it at the next boundary of what it runs, whose
    submissions go back to the queue; the exit code is then 0.

    The application configures its own Flue. --url and --schema reach it as DATABASE_URL and FLUE_SCHEMA.
    """
    configure(log_level, log_format)
    os.environ.update({name: value for name, value in (("DATABASE_URL", call.url), ("FLUE_SCHEMA", call.schema)) if value is not None})
    asyncio.run(_run(target))
    call.out.note("The worker has stopped.")
    return Exit.OK


async def _run(target: str) -> None:
    from flue_sqla.worker import Worker

    found = _resolve(target)
    # Made here, inside the loop on which it will live.
    made = found if isinstance(found, Worker) else found()
    if asyncio.iscoroutine(made):
        made = await made
    if not isinstance(made, Worker):
        raise ConfigurationError(
            f"{target} is no worker and makes none.", remedy="Name a flue_sqla.worker.Worker or a function without arguments."
        )
    await _work(made)


async def _work(made: Worker) -> None:
    try:
        await made.run(handle_signals=True)
    finally:
        # The process ends with this worker, and so does what it worked with.
        closing: Any = made.flue.close()
        if asyncio.iscoroutine(closing):
            await closing


def _resolve(target: str) -> Any:
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise ConfigurationError(f"{target!r} does not name a worker.", remedy="Write MODULE:WORKER, for example orders.worker:worker.")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
        for name in attribute.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"{target} cannot be imported: {error}.", remedy="Run the command where the module can be imported."
        ) from error
    return found
