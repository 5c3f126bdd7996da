"""pgbouncer in transaction mode, in front of one test database."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.databases.contract import Database
from tests.databases.processes import account, as_account, free_port, scratch, spawn, tail


@contextmanager
def pooler(database: Database) -> Iterator[str]:
    """The database's URL through the pooler; skips where pgbouncer is not installed."""
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
    user = account("postgres")
    folder = scratch("pgbouncer", user)
    port = free_port()
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(_configuration(sa.make_url(database.url), port))
    log = folder / "log"
    process = spawn([*as_account(user), program, str(configuration)], log=log)
    try:
        _wait_for(port, log)
        yield sa.make_url(database.url).set(port=port).render_as_string(hide_password=False)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _configuration(url: sa.URL, port: int) -> str:
    return f"""
[databases]
{url.database} = host={url.host} port={url.port} user={url.username}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
ignore_startup_parameters = extra_float_digits
"""


def _wait_for(port: int, log: Path) -> None:
    for _ in range(5_000):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)
    raise AssertionError(f"pgbouncer does not start: {tail(log)}")
