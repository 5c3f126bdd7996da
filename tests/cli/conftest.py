from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from flue_sqla import Flue
from flue_sqla.cli.main import run
from tests.databases.contract import Database

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store(migrated: Database, monkeypatch: pytest.MonkeyPatch, artifact_url: str) -> Iterator[Flue]:
    """A Flue on the database that the command will look at."""
    monkeypatch.setenv("DATABASE_URL", migrated.url)
    monkeypatch.setenv("FLUE_ARTIFACTS", artifact_url)
    flue = Flue(migrated.url)
    yield flue
    flue.close()


@pytest.fixture
def call(store: Flue, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command; exit code, standard output, standard error."""

    def run_it(*arguments: str) -> tuple[int, str, str]:
        code = run(list(arguments))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run_it
