"""What every command has in common: the four options, the settings they lead to, and groups that are loaded when used.

A command group is one file::

    from flue_sqla.cli.base import Invocation, group, pass_invocation

    @group("runs")
    def runs() -> None:
        "Look at workflow runs."

    @runs.command("list")
    @click.option("--limit", type=int)
    @pass_invocation
    def list_runs(call: Invocation, limit: int | None) -> None:
        with call.flue() as flue:
            page = flue.runs.list(limit=limit)
        call.out.emit(page.to_wire(), lambda: call.out.table(["run", "status"], [(run.run_id, run.status) for run in page.runs]))

and one line in ``flue_sqla/cli/main.py``. A command that finds what it was asked to find wrong, without an error, returns an
:class:`~flue_sqla.cli.exits.Exit`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import click

from flue_sqla.cli.output import Output
from flue_sqla.redaction import Redactor

if TYPE_CHECKING:
    from flue_sqla.flue import Flue
    from flue_sqla.settings import FlueSettings

__all__ = ["FlueCommand", "FlueGroup", "Invocation", "command", "group", "pass_invocation"]


class Invocation:
    """One call of the command: its common options, its output, and the settings and Flue that follow from them."""

    def __init__(self) -> None:
        self.url: str | None = None
        self.schema: str | None = None
        self.env_file: str | None = None
        self.debug = False
        self._json = False
        self._out: Output | None = None
        self._redactor = Redactor()
        self._remarks: set[str] = set()

    @property
    def out(self) -> Output:
        """Where this call prints."""
        if self._out is None:
            self._out = Output(as_json=self._json)
        return self._out

    @property
    def json(self) -> bool:
        return self._json

    @json.setter
    def json(self, value: bool) -> None:
        self._json, self._out = value, None

    def settings(self, **given: Any) -> FlueSettings:
        """The settings of the environment, the env file and the options; ``given`` wins over all, ``None`` is "not given".

        Raises:
            ConfigurationError: with all problems at once.
        """
        options = {"database_url": self.url, "schema_name": self.schema}
        return self._read(self.env_file, None, {**options, **given})

    def settings_of(self, env_file: str) -> FlueSettings:
        """The settings of a file and nothing else. Raises as :meth:`settings`."""
        return self._read(env_file, {}, {})

    def _read(self, env_file: str | None, environ: Mapping[str, str] | None, given: dict[str, Any]) -> FlueSettings:
        from flue_sqla.settings import FlueSettings

        settings = FlueSettings.from_env(env_file, environ=environ, warn=self._remark, **given)
        self._redactor.learn(settings.secrets())
        return settings

    def _remark(self, text: str) -> None:
        """Say it once, and to people: a program takes what is on standard error for a failure."""
        if not self.json and text not in self._remarks:
            self._remarks.add(text)
            self.out.note(text)

    def scrub(self, text: str) -> str:
        """``text`` without any secret of the settings: what drivers and servers say is not ours to trust."""
        return self._redactor.clean(text)

    @contextmanager
    def flue(self, *, boot: bool = True, migrate: Literal["auto", "verify", "off"] = "verify", **given: Any) -> Iterator[Flue]:
        """A Flue for the length of the block; with ``boot`` its schema has been judged, and by default only looked at.

        What ``migrate`` says here counts, not FLUE_MIGRATE, which must be right all the same.

        Raises:
            ConfigurationError, DatabaseUnavailableError, PersistedFormatVersionError, SchemaVersionError
        """
        from flue_sqla.flue import Flue

        opened = Flue.from_settings(self.settings(**given).model_copy(update={"migrate": migrate}))
        try:
            if boot:
                opened.boot()
            yield opened
        finally:
            opened.close()


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)


def _common_options() -> list[click.Parameter]:
    """Accepted before and after the name of any command."""

    def remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None and value is not False and parameter.name is not None:
            setattr(context.ensure_object(Invocation), parameter.name, value)

    def option(*names: str, **attributes: Any) -> click.Option:
        return click.Option(names, expose_value=False, callback=remember, is_eager=True, **attributes)

    return [
        option("--url", metavar="URL", help="The database; default DATABASE_URL."),
        option("--schema", metavar="NAME", help="The database schema that holds the tables; default FLUE_SCHEMA."),
        option("--env-file", metavar="FILE", help="A file of NAME=value lines; variables of the process win over it."),
        option("--json", is_flag=True, help="Print one JSON document instead of text."),
        option("--debug", is_flag=True, help="Show the traceback of an unexpected failure."),
    ]


class FlueCommand(click.Command):
    """A command with the common options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        taken = {name for parameter in self.params for name in parameter.opts}
        self.params += [option for option in _common_options() if not taken & set(option.opts)]


class FlueGroup(FlueCommand, click.Group):
    """A group with the common options, whose ``lazy`` commands are imported when they are called or listed."""

    command_class = FlueCommand
    group_class = type

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = dict(lazy or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._lazy})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        loaded = getattr(importlib.import_module(module), attribute)
        if not isinstance(loaded, click.Command):
            raise TypeError(f"{module}:{attribute} is not a command")
        return loaded

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List lazy commands by their one line, without importing what they need."""
        lines = []
        for name in self.list_commands(ctx):
            if name in self._lazy:
                lines.append((name, self._lazy[name][1]))
            elif (found := super().get_command(ctx, name)) is not None and not found.hidden:
                lines.append((name, found.get_short_help_str(100)))
        if lines:
            with formatter.section("Commands"):
                formatter.write_dl(lines)


def command(name: str, **attributes: Any) -> Callable[[Callable[..., Any]], FlueCommand]:
    """A top-level command."""
    return click.command(name, cls=FlueCommand, **attributes)


def group(name: str, **attributes: Any) -> Callable[[Callable[..., Any]], FlueGroup]:
    """A top-level group of commands."""
    return click.group(name, cls=FlueGroup, **attributes)
