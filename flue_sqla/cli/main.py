"""The top of the command: which commands there are, and how each kind of failure leaves the process."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Sequence

import click
from sqlalchemy.exc import DBAPIError

from flue_sqla.cli.base import FlueGroup, Invocation
from flue_sqla.cli.exits import Exit
from flue_sqla.codes import Code
from flue_sqla.errors import DatabaseUnavailableError, FlueError

__all__ = ["application", "run"]

# Name → where the command is, and its line in the overview.
_COMMANDS: dict[str, tuple[str, str]] = {
    "artifacts": ("flue_sqla.cli.artifacts:artifacts", "Store, fetch, verify, sweep and move artifacts."),
    "check": ("flue_sqla.cli.check:check", "Check database, rights, schema and object store by using them."),
    "conversations": ("flue_sqla.cli.conversations:conversations", "Verify conversation streams."),
    "current": ("flue_sqla.cli.schema:current", "Say what the database is."),
    "demo": ("flue_sqla.cli.demo:demo", "Run the main job here and check its guarantees."),
    "prune": ("flue_sqla.cli.prune:prune", "Delete what is settled and old."),
    "runs": ("flue_sqla.cli.runs:runs", "List and show workflow runs and their events."),
    "snapshot": ("flue_sqla.cli.snapshot:snapshot", "Export, inspect and import everything."),
    "sql": ("flue_sqla.cli.schema:sql", "Print the DDL, or with --grants the least rights of each role."),
    "status": ("flue_sqla.cli.status:status", "Show what is queued, running and expired."),
    "submissions": ("flue_sqla.cli.submissions:submissions", "List, show, abort and requeue submissions."),
    "upgrade": ("flue_sqla.cli.schema:upgrade", "Migrate the database to this release's schema."),
    "verify": ("flue_sqla.cli.schema:verify", "Refuse unless the database is current; change nothing."),
    "worker": ("flue_sqla.cli.worker:worker", "Run a worker of an application."),
}


def _present(location: str) -> bool:
    return importlib.util.find_spec(location.partition(":")[0]) is not None


@click.group("flue-sqla", cls=FlueGroup, lazy={name: entry for name, entry in _COMMANDS.items() if _present(entry[0])})
@click.version_option(package_name="flue-sqla", message="%(version)s")
def application() -> None:
    """Durable, shared state for AI agents in your own database.

    Every command takes --url, --schema, --env-file and --json. Exit codes: 0 done, 1 failure, 2 wrong usage or settings,
    3 database unreachable, 4 schema refused, 5 object store.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; an expected failure prints no traceback."""
    call = Invocation()
    try:
        result = application.main(args=list(arguments), prog_name="flue-sqla", standalone_mode=False, obj=call)
        sys.stdout.flush()
        return int(result) if isinstance(result, int) else int(Exit.OK)
    except click.ClickException as error:
        call.json = call.json or "--json" in arguments
        context = getattr(error, "ctx", None)
        remedy = f"Run '{context.command_path} --help'." if context is not None else "Add --help to the command."
        call.out.refusal(Code.USAGE, error.format_message(), remedy=remedy, exit_with=Exit.USAGE)
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        call.out.note("Interrupted.")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as `| head` does; the interpreter must not complain again while it shuts down.
        sys.stdout = None
        return Exit.FAILURE
    except FlueError as error:
        return call.out.failure(error)
    except Exception as error:
        return _unexpected(call, error)


def _unexpected(call: Invocation, error: Exception) -> Exit:
    """A failure that nobody foresaw: its first line, or with --debug all of it, but never a password."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return call.out.failure(DatabaseUnavailableError("The connection to the database was lost."))
    if call.debug:
        sys.stderr.write(call.scrub("".join(traceback.format_exception(error))))
    told = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    first_line = next(iter(str(told).splitlines()), "")
    call.out.refusal(
        Code.UNEXPECTED, call.scrub(f"{type(told).__name__}: {first_line}"), remedy="Run it again with --debug for the traceback."
    )
    return Exit.FAILURE
