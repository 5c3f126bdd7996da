"""The matrix: ``nox -s tests-postgres`` is one cell's short name, ``nox -s tests`` all of them, ``nox -l`` the list.

Interpreters that are not installed are skipped here and an error under CI. With pyenv name them:
``PYENV_VERSION=3.12.1:3.11.7:3.13.0 nox --download-python never``.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.needs_version = ">=2024.10"
nox.options.sessions = ["lint", "types", "tests-sqlite", "tests-postgres", "tests-mariadb", "wheel"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = bool(os.environ.get("CI"))

PARALLEL = ["-n", "auto", "--maxprocesses", "4", "--dist", "loadgroup"]
PYTHONS = ["3.11", "3.12", "3.13"]
SQLALCHEMY = {"2.0": "sqlalchemy[asyncio]>=2.0.40,<2.1", "2.1": "sqlalchemy[asyncio]>=2.1,<2.2"}
DRIVERS = {"sqlite": ["aiosqlite"], "postgres": ["psycopg", "asyncpg"], "mariadb": ["asyncmy", "aiomysql"]}
CELLS = [nox.param(database, driver, id=f"{database}-{driver}") for database, drivers in DRIVERS.items() for driver in drivers]


def _run_tests(session: nox.Session, database: str, *, driver: str | None = None, sqlalchemy: str | None = None) -> None:
    session.install("--editable", ".[test]")
    if driver == "aiomysql":
        session.install("aiomysql", "pymysql[rsa]<1.2")  # aiomysql 0.3 cannot send bytes with a later one
    if sqlalchemy is not None:
        session.install(SQLALCHEMY[sqlalchemy])
    environment = {"FLUE_TEST_DATABASES": database}
    if driver is not None:
        environment["FLUE_TEST_ASYNC_DRIVER"] = driver
    session.run("python", "-m", "pytest", *(session.posargs or PARALLEL), env=environment)


@nox.session(python=PYTHONS)
@nox.parametrize("sqlalchemy", list(SQLALCHEMY))
@nox.parametrize(("database", "driver"), CELLS)
def tests(session: nox.Session, database: str, driver: str, sqlalchemy: str) -> None:
    """One cell: a database system, its asynchronous driver, an interpreter and a SQLAlchemy."""
    _run_tests(session, database, driver=driver, sqlalchemy=sqlalchemy)


@nox.session(name="tests-sqlite")
def tests_sqlite(session: nox.Session) -> None:
    """The suite on SQLite."""
    _run_tests(session, "sqlite")


@nox.session(name="tests-postgres")
def tests_postgres(session: nox.Session) -> None:
    """The suite on PostgreSQL."""
    _run_tests(session, "postgres")


@nox.session(name="tests-postgres-icu")
def tests_postgres_icu(session: nox.Session) -> None:
    """The suite on PostgreSQL with the en-US ICU collation, which orders unlike bytes."""
    _run_tests(session, "postgres-icu")


@nox.session(name="tests-mariadb")
def tests_mariadb(session: nox.Session) -> None:
    """The suite on MariaDB."""
    _run_tests(session, "mariadb")


@nox.session(name="tests-mysql")
def tests_mysql(session: nox.Session) -> None:
    """The suite on the MySQL server that FLUE_TEST_MYSQL_URL names."""
    if not os.environ.get("FLUE_TEST_MYSQL_URL"):
        session.skip("FLUE_TEST_MYSQL_URL names no server, and the tests start none of this kind")
    _run_tests(session, "mysql")


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting, lint, and the arrows between packages."""
    session.install("--editable", ".[dev]")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("lint-imports", "--no-cache")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict on the package; pyright on the package and on what tests assert about the public API."""
    session.install("--editable", ".[dev]")
    session.run("mypy")
    session.run("pyright", "--pythonpath", f"{session.bin}/python")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it alone into an empty environment, and boot from an empty folder."""
    session.install("--editable", ".[test]")
    session.run("python", "-m", "pytest", "tests/packaging", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """The main job, on SQLite and a local folder unless URLs are given."""
    session.install("--editable", ".[test]")
    session.run("flue-sqla", "demo", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """The tests that kill processes and servers, each many times: FLUE_TEST_FAULT_REPEATS, default 20."""
    session.install("--editable", ".[test]")
    repeats = os.environ.get("FLUE_TEST_FAULT_REPEATS", "20")
    session.run(
        "python",
        "-m",
        "pytest",
        "-m",
        "faults",
        *(session.posargs or PARALLEL),
        env={"FLUE_TEST_FAULT_REPEATS": repeats, "FLUE_TEST_LARGE_ARTIFACT": os.environ.get("FLUE_TEST_LARGE_ARTIFACT", "2048")},
    )


@nox.session
def soak(session: nox.Session) -> None:
    """Workers under random faults for FLUE_TEST_SOAK_SECONDS, default 60."""
    session.install("--editable", ".[test]")
    session.run("python", "-m", "pytest", "-m", "soak", "--timeout", "0", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Every benchmark, or those named: ``nox -s bench -- lifecycle``."""
    session.install("--editable", ".[test]")
    chosen = session.posargs or sorted(path.stem for path in Path("benchmarks").glob("*.py") if "__main__" in path.read_text())
    for name in chosen:
        session.run("python", "-m", f"benchmarks.{name}")
