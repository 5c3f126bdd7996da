"""The file behind a SQLite URL: which one it is, and what helps where it cannot be opened."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

__all__ = ["file_of", "how_to_open", "in_memory"]

_DRIVERS = frozenset({"pysqlite", "aiosqlite"})


def in_memory(url: sa.URL) -> bool:
    """Whether the database is no file."""
    database = url.database or ""
    return (
        database in ("", ":memory:")
        or "mode=memory" in database
        or url.query.get("mode") == "memory"
        or database.startswith("file::memory:")
    )


def file_of(url: sa.URL) -> Path | None:
    """The file that connecting opens, or creates; None where it is no file, or another driver than Python's own decides."""
    if in_memory(url) or url.get_driver_name() not in _DRIVERS:
        return None
    name = url.database or ""
    return Path(unquote(urlsplit(name).path) if name.startswith("file:") else name).absolute()


def how_to_open(path: Path) -> str:
    """What to do about a file that SQLite could not open."""
    if os.path.isdir(path):
        return f"Name a file in the URL: {str(path)!r} is a folder."
    if not os.path.exists(path.parent):
        return f"Create the folder {str(path.parent)!r}, or name a file in one that exists."
    if os.access(path if os.path.exists(path) else path.parent, os.R_OK | os.W_OK):
        return f"Check that {str(path)!r} is a SQLite database and nothing else."
    return f"Let this user read and write the file {str(path)!r} and its folder, or name another file."
