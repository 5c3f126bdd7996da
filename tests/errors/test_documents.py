"""docs/errors.md lists exactly the errors that there are."""

from __future__ import annotations

import pickle
import re
import traceback
from pathlib import Path

import pytest

from flue_sqla import errors
from flue_sqla.cli.exits import exit_code
from flue_sqla.codes import Code
from tests.errors.tables import other_rows, rows

TEXT = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
CLASSES = [getattr(errors, name) for name in errors.__all__]


def _example(kind: type[errors.FlueError]) -> errors.FlueError:
    arguments = {
        errors.ConversationStreamStoreError: ("append", "path", "reason"),
        errors.AttachmentConflictError: ("path", "id"),
        errors.AttachmentIntegrityError: ("id", "reason"),
    }
    return kind(*arguments.get(kind, ("message",)))


def test_every_error_is_documented_and_nothing_else() -> None:
    documented = [line for line in TEXT.partition("\n## ")[0].splitlines() if line.startswith("|")]
    assert documented == [*rows(), *other_rows()], "python -m tests.errors.tables prints the tables"


def test_codes_are_distinct() -> None:
    assert len({kind.code for kind in CLASSES} | {*Code}) == len(CLASSES) + len(Code)


def test_the_command_prints_no_code_that_is_not_listed() -> None:
    """It takes them from the classes and from ``Code``, and writes none down itself."""
    for folder in ("cli", "checks"):
        for path in (Path(errors.__file__).parent / folder).rglob("*.py"):
            assert not re.search(r"(refusal|Failed|done)\([^()]*\"[a-z]+(_[a-z]+)*\"", path.read_text()), path


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_the_exit_code_table_is_what_the_command_does(kind: type[errors.FlueError]) -> None:
    rows = {int(match[1]): match[2] for match in re.finditer(r"^\| (\d+) \|.*\|(.*)\|$", TEXT, re.MULTILINE)}
    expected = next((code for code, listed in rows.items() if f"`{kind.code}`" in listed), 1)
    assert exit_code(_example(kind)) == expected


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_errors_cross_process_boundaries(kind: type[errors.FlueError]) -> None:
    error = _example(kind)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.message, copy.meta, copy.remedy) == (kind, error.message, error.meta, error.remedy)
    assert traceback.format_exception_only(copy) == traceback.format_exception_only(error)


def test_a_traceback_says_what_to_do_and_the_text_of_the_error_only_what_was_found() -> None:
    error = errors.SchemaVersionError("It is behind.", remedy="Run `flue-sqla upgrade`.")
    shown = "".join(traceback.format_exception_only(error))
    assert shown == "flue_sqla.errors.SchemaVersionError: It is behind.\nWhat to do: Run `flue-sqla upgrade`.\n"
    assert str(error) == "It is behind."
