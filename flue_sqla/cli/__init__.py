"""The ``flue-sqla`` command. It needs the extra ``cli``; nothing in the library imports it."""

from __future__ import annotations

import sys

__all__ = ["command"]


def command() -> None:
    """Entry point of the console script: runs the command line and ends the process with its exit code."""
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ModuleNotFoundError as error:
        sys.stderr.write(f"flue-sqla needs the package {error.name!r}. Install it with: pip install 'flue-sqla[cli]'\n")
        raise SystemExit(2) from None
    from flue_sqla.cli.main import run

    raise SystemExit(run(sys.argv[1:]))
