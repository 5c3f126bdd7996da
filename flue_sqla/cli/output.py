"""What a command prints: tables for people, one JSON document for programs, failures apart on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flue_sqla.cli.exits import Exit, exit_code
from flue_sqla.errors import FlueError

__all__ = ["Output", "counted"]

_PIPED_WIDTH = 320


def counted(number: int, what: str) -> str:
    """``1 row``, ``2 rows``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


class Output:
    """Where a command writes. ``as_json`` is the ``--json`` of the command line."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        # A pipe has no width; with less than this the ids of a listing would be cut in two.
        self._out = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _PIPED_WIDTH)
        self._err = Console(file=sys.stderr, highlight=False, width=None if sys.stderr.isatty() else _PIPED_WIDTH)

    def emit(self, document: Any, render: Callable[[], None]) -> None:
        """Print ``document`` as one line of JSON, or call ``render``, which draws it for people."""
        if self.as_json:
            self.json(document)
        else:
            render()

    def json(self, document: Any) -> None:
        """One JSON document on one line; with ``--follow`` a command prints one per event."""
        sys.stdout.write(json.dumps(document, ensure_ascii=False, default=str) + "\n")
        sys.stdout.flush()

    def line(self, text: str = "", *, style: str | None = None) -> None:
        """A line for people; square brackets are text, not markup. Nothing with ``--json``."""
        if not self.as_json:
            self._out.print(escape(text), style=style)

    def text(self, text: str) -> None:
        """Text as it is, for example SQL: no wrapping, no colour."""
        sys.stdout.write(text if text.endswith("\n") else text + "\n")

    def note(self, text: str) -> None:
        """A remark on standard error, which does not disturb what is piped on."""
        self._err.print(escape(text), style="dim")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None, empty: str = "") -> None:
        """A table for people; ``None`` is an empty cell, numbers are right-aligned. Nothing with ``--json``.

        Without rows it is the line ``empty``, if there is one.
        """
        if self.as_json:
            return
        body = [list(row) for row in rows]
        if not body:
            if empty:
                self.line(empty)
            return
        table = Table(title=title, title_justify="left", header_style="bold")
        for position, column in enumerate(columns):
            numeric = all(isinstance(row[position], int | float) or row[position] is None for row in body)
            table.add_column(column, justify="right" if numeric else "left", overflow="fold")
        for row in body:
            table.add_row(*("" if value is None else escape(str(value)) for value in row))
        self._out.print(table)

    def progress(self) -> AbstractContextManager[Progress]:
        """A progress bar on standard error; invisible with ``--json`` and where standard error is no terminal."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        return Progress(*columns, console=self._err, disable=self.as_json or not sys.stderr.isatty(), transient=True)

    def failure(self, error: FlueError) -> Exit:
        """Print an expected failure and return its exit code."""
        code = exit_code(error)
        self.refusal(error.code, error.message, remedy=error.remedy, meta=error.meta, exit_with=code)
        return code

    def refusal(
        self, code: str, message: str, *, remedy: str = "", meta: dict[str, Any] | None = None, exit_with: Exit = Exit.FAILURE
    ) -> None:
        """Code, message and remedy on standard error; with ``--json`` one object with these keys."""
        if self.as_json:
            error = {"code": code, "message": message, "remedy": remedy, "meta": meta or {}}
            document = {"ok": False, "exit_code": int(exit_with), "error": error}
            sys.stderr.write(json.dumps(document, ensure_ascii=False, default=str) + "\n")
            return
        self._err.print(f"[bold red]{escape(code)}[/]: {escape(message)}", soft_wrap=True)
        if remedy:
            self._err.print(f"[bold]What to do:[/] {escape(remedy)}", soft_wrap=True)
