"""The ``flue-sqla`` command. It needs the extra ``cli``; nothing in the library imports it."""

from __future__ import annotations

import os
import sys

__all__ = ["command"]


def command() -> None:
    """Entry point of the console script: runs the command line and ends the process with its exit code."""
    _replace_closed_streams()
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ModuleNotFoundError as error:
        sys.stderr.write(f"flue-sqla needs the package {error.name!r}. Install it with: pip install 'flue-sqla[cli]'\n")
        raise SystemExit(2) from None
    from flue_sqla.cli.main import run

    raise SystemExit(run(sys.argv[1:]))


def _replace_closed_streams() -> None:
    """Where whoever started us closed a standard stream (``>&-``), the next file would get its number: the database, for one."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
