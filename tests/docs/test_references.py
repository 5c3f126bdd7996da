"""What the guides name is there: files, links, modules, commands with their options, and variables."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from flue_sqla.cli.main import application
from flue_sqla.settings import FlueSettings, variables
from tests.docs.programs import DOCS, ROOT

GUIDES = [
    *sorted(DOCS.glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/orders_app/README.md")),
]
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
_FILE = re.compile(r"`((?:alembic|benchmarks|docs|examples|flue_sqla|tests)/[\w/.-]+)`")
_MODULE = re.compile(r"python -m ([\w.]+)|python (benchmarks/\w+)\.py")
_COMMAND = re.compile(r"flue-sqla ((?:(?!flue-sqla)[^`\n|;#)])+)")
_VARIABLE = re.compile(r"\bFLUE_(?!TEST_)[A-Z0-9_]*[A-Z0-9]\b")

pytestmark = pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)


def test_links_lead_somewhere(guide: Path) -> None:
    text = guide.read_text()
    missing = [name for name in _LINK.findall(text) if not (guide.parent / name.partition("#")[0]).exists()]
    assert [*missing, *(name for name in _FILE.findall(text) if not (ROOT / name).exists())] == []


def test_modules_that_are_to_be_run_exist(guide: Path) -> None:
    named = [(module or path).replace(".", "/") for module, path in _MODULE.findall(guide.read_text())]
    assert [name for name in named if not (ROOT / name).with_suffix(".py").exists() and not (ROOT / name / "__main__.py").exists()] == []


def test_code_can_be_read_and_imports_what_is_there(guide: Path) -> None:
    for block in _PYTHON.findall(guide.read_text()):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.split(".")[0] == "flue_sqla":
                module = importlib.import_module(node.module)
                assert [alias.name for alias in node.names if not _has(module, alias.name)] == []


def _has(module: object, name: str) -> bool:
    return hasattr(module, name) or importlib.util.find_spec(f"{module.__name__}.{name}") is not None  # type: ignore[attr-defined]


def test_commands_have_the_options_that_are_shown(guide: Path) -> None:
    for shown in _COMMAND.findall(guide.read_text()):
        for command, words in _commands(shown.split()):
            options = {option for parameter in command.get_params(click.Context(command)) for option in parameter.opts}
            assert {word for word in words if word.startswith("--")} <= options, shown


def _commands(words: list[str]) -> Iterator[tuple[click.Command, list[str]]]:
    """The command that the words begin with, and the rest of them; none where they are prose ("flue-sqla is …")."""
    command: click.Command = application
    context = click.Context(application)
    while isinstance(command, click.Group) and words and (found := command.get_command(context, words[0])) is not None:
        command, words = found, words[1:]
    if command is not application:
        yield command, words


def test_variables_are_settings(guide: Path) -> None:
    known = {variable for setting in FlueSettings.model_fields for variable in variables(setting)}
    assert {name for name in _VARIABLE.findall(guide.read_text()) if name not in known} == set()
