"""Importing the package costs little and loads nothing that a host may not want."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

HEAVY = {"alembic", "fsspec", "s3fs", "aiobotocore", "botocore", "obstore", "click", "rich", "opentelemetry"}
DRIVERS = {"psycopg", "asyncpg", "pymysql", "asyncmy", "aiomysql", "aiosqlite"}


@pytest.mark.parametrize("module", ["flue_sqla", "flue_sqla.asyncio", "flue_sqla.records", "flue_sqla.models", "flue_sqla.schema.hooks"])
def test_import_loads_no_driver_and_nothing_heavy(module: str) -> None:
    command = [sys.executable, "-X", "importtime", "-c", f"import {module}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if re.match(r"import time:\s+\d", line)}
    assert module in loaded
    assert {name.partition(".")[0] for name in loaded} & (HEAVY | DRIVERS) == set()


def test_import_starts_no_thread_and_changes_no_logging() -> None:
    code = (
        "import logging, threading; before = list(logging.root.handlers);"
        "import flue_sqla, flue_sqla.asyncio;"
        "assert threading.active_count() == 1; assert logging.root.handlers == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
