"""MariaDB in a temporary data directory; one server per test worker.

A migrated database is made by replaying the template's own CREATE statements and copying its rows, which takes a fraction of what
the migration takes: MariaDB has no template databases.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.databases.contract import Database, Parameters, Server, Unavailable, async_driver
from tests.databases.migration import migrate
from tests.databases.processes import account, as_account, free_port, in_keeper_thread, scratch, tail

BOOT_SECONDS = 90.0
TEMPLATE = "flue_template"
# Commits reach the operating system before they are acknowledged, so a killed server loses nothing; only fsync is spared.
SERVER_ARGUMENTS = (
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--skip-log-bin",
    "--character-set-server=utf8mb4",
    "--collation-server=utf8mb4_bin",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-flush-method=nosync",
    "--innodb-buffer-pool-size=64M",
    "--max-connections=400",
    "--performance-schema=OFF",
)


class MysqlFamilyServer(Server):
    """What a started MariaDB and a server given by URL have in common: databases, templates and the administrator's connection."""

    def __init__(self, *, host: str, port: int, user: str, password: str, prefix: str) -> None:
        self.host, self.port, self._user_name, self._password = host, port, user, password
        self._prefix = prefix
        self._numbers = itertools.count(1)
        self._template_ddl: list[str] | None = None

    def create_database(self, *, migrated: bool = False) -> Database:
        name = f"{self._prefix}{next(self._numbers)}"
        self._create(name)
        if migrated:
            self._replay_template(name)
        return self._database(name)

    def _create(self, name: str) -> None:
        self.admin_execute("", f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", None)

    def _database(self, name: str) -> Database:
        credentials = f"{self._user_name}:{self._password}" if self._password else self._user_name
        where = f"{credentials}@{self.host}:{self.port}/{name}?charset=utf8mb4"
        return Database(
            server=self,
            schema_name=name,
            url=f"mysql+pymysql://{where}",
            async_url=f"mysql+{async_driver('asyncmy')}://{where}",
        )

    def _replay_template(self, name: str) -> None:
        template = f"{self._prefix}{TEMPLATE}"
        if self._template_ddl is None:
            self._create(template)
            migrate(self._database(template).url)
            self._template_ddl = self._dump(template)
        with closing(self._connect(name)) as connection, connection.cursor() as cursor:
            cursor.execute("SET foreign_key_checks = 0")
            for statement in self._template_ddl:
                cursor.execute(statement)

    def _dump(self, template: str) -> list[str]:
        """The statements that make a copy of ``template``, rows included."""
        statements: list[str] = []
        with closing(self._connect(template)) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW TABLES")
            tables = [row[0] for row in cursor.fetchall()]
            for table in tables:
                cursor.execute(f"SHOW CREATE TABLE `{table}`")
                statements.append(cursor.fetchone()[1])
                cursor.execute(f"SELECT EXISTS (SELECT 1 FROM `{table}`)")
                if cursor.fetchone()[0]:
                    statements.append(f"INSERT INTO `{table}` SELECT * FROM `{template}`.`{table}`")
        return statements

    def drop_database(self, schema_name: str) -> None:
        self.admin_execute("", f"DROP DATABASE IF EXISTS `{schema_name}`", None)

    def _connect(self, name: str) -> Any:
        import pymysql

        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self._user_name,
            password=self._password,
            database=name or None,
            charset="utf8mb4",
            autocommit=True,
        )

    def admin_execute(self, schema_name: str, statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        with closing(self._connect(schema_name)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall()) if cursor.description else []


class MariadbServer(MysqlFamilyServer):
    name = "mariadb"

    def __init__(self) -> None:
        self._account = account("mysql")
        self._binary = _find("mariadbd")
        installer = _find("mariadb-install-db")
        self._folder = scratch("mariadb", self._account)
        self._log = self._folder / "server.log"
        # A server removes all temporary tables there when it starts, and so does the installer: it must be nobody else's folder.
        self._tmpdir = self._folder / "tmp"
        self._tmpdir.mkdir()
        if self._account is not None:
            os.chown(self._tmpdir, self._account.pw_uid, self._account.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(host="127.0.0.1", port=free_port(), user="root", password="", prefix="t")
        try:
            self._install(installer)
            self.start_serving()
        except (OSError, RuntimeError) as error:
            self.close()
            raise Unavailable(f"MariaDB does not start: {error}") from error

    def _install(self, installer: str) -> None:
        command = [
            *as_account(self._account, death_signal="KILL"),
            installer,
            "--no-defaults",
            f"--datadir={self._folder / 'data'}",
            f"--tmpdir={self._tmpdir}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self._folder)
        if done.returncode != 0:
            raise RuntimeError(f"mariadb-install-db failed: {done.stderr.strip()[-600:] or done.stdout.strip()[-600:]}")

    def start_serving(self) -> None:
        command = [
            *as_account(self._account, death_signal="KILL"),
            self._binary,
            "--no-defaults",
            f"--datadir={self._folder / 'data'}",
            f"--socket={self._folder / 'mariadb.sock'}",
            f"--pid-file={self._folder / 'mariadb.pid'}",
            f"--tmpdir={self._tmpdir}",
            f"--port={self.port}",
            *SERVER_ARGUMENTS,
        ]

        def start() -> subprocess.Popen[bytes]:
            with self._log.open("ab") as output:
                return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self._folder)

        self._process = in_keeper_thread(start)
        self._await_connection(self._process)

    def _await_connection(self, process: subprocess.Popen[bytes]) -> None:
        import pymysql

        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            try:
                self._connect("").close()
            except pymysql.err.OperationalError as error:
                if process.poll() is not None:
                    raise RuntimeError(f"mariadbd ended at once:\n{tail(self._log)}") from error
                if time.monotonic() > deadline:
                    raise RuntimeError(f"mariadbd did not answer in {BOOT_SECONDS:.0f} s:\n{tail(self._log)}") from error
                time.sleep(0.05)
            else:
                return

    def stop_serving(self, *, immediate: bool = False) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL if immediate else signal.SIGTERM)
            self._process.wait(timeout=60)
            self._process = None

    def close(self) -> None:
        self.stop_serving(immediate=True)
        shutil.rmtree(self._folder, ignore_errors=True)


def _find(program: str) -> str:
    for folder in ("/usr/sbin", "/usr/bin", "/usr/local/bin"):
        candidate = Path(folder, program)
        if candidate.exists():
            return str(candidate)
    found = shutil.which(program)
    if found is None:
        raise Unavailable(f"MariaDB is not installed: no {program} (Debian: apt-get install mariadb-server)")
    return found
