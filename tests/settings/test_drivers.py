"""A driver that is not there: the one command that installs it, spelt so that it can be copied."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import pytest

from flue_sqla import Flue
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.errors import ConfigurationError


@pytest.mark.parametrize(
    ("face", "url", "module", "command"),
    [
        (Flue, "postgresql://h/d", "psycopg", "Run: pip install 'flue-sqla[postgres]'"),
        (AsyncFlue, "postgres://h/d", "psycopg", "Run: pip install 'flue-sqla[postgres]'"),
        (Flue, "mysql://h/d", "pymysql", "Run: pip install 'flue-sqla[mysql]'"),
        (AsyncFlue, "mariadb+pymysql://h/d", "asyncmy", "Run: pip install 'flue-sqla[mysql]'"),
        (AsyncFlue, "sqlite:///x.db", "aiosqlite", "Run: pip install 'flue-sqla[sqlite-async]'"),
        (AsyncFlue, "postgresql+asyncpg://h/d", "asyncpg", "Install the package of that driver, or: Write postgresql://…"),
    ],
)
def test_the_remedy_names_the_one_extra(face: Any, url: str, module: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == module:
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=f"The driver '{module}' is not installed") as caught:
        face(url)
    assert caught.value.remedy.startswith(command)
    assert caught.value.remedy.count("flue-sqla[") == 1


def test_a_driver_that_misses_a_library_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def fail(name: str, *rest: Any) -> Any:
        if name == "psycopg":
            raise ImportError("no pq wrapper available.\nAttempts made: …")
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(ConfigurationError, match=r"'psycopg' cannot be imported: no pq wrapper available\.") as caught:
        Flue("postgresql://h/d")
    assert caught.value.remedy == "Run: pip install 'flue-sqla[postgres]'"


def test_a_driver_that_nobody_knows() -> None:
    with pytest.raises(ConfigurationError, match="knows no driver 'nonsense' of postgresql") as caught:
        Flue("postgresql+nonsense://user:hunter2@h/d")
    assert "postgresql://…" in caught.value.remedy
    assert "hunter2" not in f"{caught.value}{caught.value.remedy}{caught.value.meta}"
