"""``flue-sqla worker``: a process that is nothing but a worker of an application."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import click

from flue_sqla.cli.base import Invocation, command, pass_invocation
from flue_sqla.cli.exits import Exit
from flue_sqla.cli.log_lines import configure
from flue_sqla.cli.worker_target import made, warn_of_another_place

__all__ = ["worker"]


@command("worker")
@click.argument("target", metavar="MODULE:WORKER")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True)
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="One line per event; --json is json."
)
@pass_invocation
def worker(call: Invocation, target: str, log_level: str, log_format: str) -> Exit:
    """Run the worker that MODULE:WORKER names: a Worker, or a function that makes one.

    The module is imported from the current folder too. SIGTERM and SIGINT stop it at the next boundary of what it runs, whose
    submissions go back to the queue; the exit code is then 0.

    The application makes its own Flue. --url, --schema and --env-file reach it only as environment variables, the first two as
    DATABASE_URL and FLUE_SCHEMA, set before the module is imported: Flue.from_settings() reads them, Flue("…") does not. A Flue
    of another database or schema than those given runs all the same, with a warning.
    """
    configure(log_level, "json" if call.json else log_format)
    _hand_over(call)
    asyncio.run(_work(call, target))
    return Exit.OK


def _hand_over(call: Invocation) -> None:
    """Put the options into the environment, where the application finds them."""
    from flue_sqla.dialects.engines import normalize_url
    from flue_sqla.settings import read_env_file

    if call.url is not None:
        normalize_url(call.url)
    os.environ.update({name: value for name, value in (("DATABASE_URL", call.url), ("FLUE_SCHEMA", call.schema)) if value is not None})
    for name, value in read_env_file(call.env_file).items():
        os.environ.setdefault(name, value)


async def _work(call: Invocation, target: str) -> None:
    worker = await made(target)
    try:
        warn_of_another_place(worker, call.url, call.schema)
        await worker.run(handle_signals=True)
    finally:
        # The process ends with this worker, and so does what it worked with.
        closing: Any = worker.flue.close()
        if asyncio.iscoroutine(closing):
            await closing
