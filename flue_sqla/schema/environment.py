"""What our ``env.py`` runs: the same guard and lock as boot, whoever calls Alembic.

The connection is the caller's (``config.attributes["connection"]``), or one to ``-x url=…``, the configuration's ``sqlalchemy.url`` or
``DATABASE_URL``. No event loop is started and nothing is disposed that was not created here, so it also works from a running loop's
thread and behind ``AsyncConnection.run_sync``.
"""

from __future__ import annotations

import logging.config
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import context
from alembic.config import Config
from alembic.util import CommandError

from flue_sqla.dialects.ddl import NO_TRANSLATION, schema_dialect
from flue_sqla.dialects.engines import create_engine, normalize_url
from flue_sqla.errors import ConfigurationError, FlueError
from flue_sqla.models import metadata_for
from flue_sqla.schema.comparison import Comparison
from flue_sqla.schema.connections import connected, under_lock
from flue_sqla.schema.facts import Placement
from flue_sqla.schema.migrate import LOCK_TIMEOUT_MS, admit, revision_options
from flue_sqla.schema.offline import write_script
from flue_sqla.schema.release import VERSION_TABLE
from flue_sqla.schema.verdict import VerdictKind

__all__ = ["run"]


def run() -> None:
    """Carry out the command for which Alembic loaded the environment.

    From the command line a refusal becomes Alembic's own failure message; from Python it is raised as it is.
    """
    config = context.config
    try:
        _run(config, context.get_x_argument(as_dictionary=True))
    except FlueError as error:
        if config.cmd_opts is None:
            raise
        raise CommandError(" ".join(filter(None, (f"[{error.code}]", error.message, error.remedy)))) from error


def _run(config: Config, given: Mapping[str, Any]) -> None:
    if config.cmd_opts is not None and config.config_file_name is not None and Path(config.config_file_name).is_file():
        # Only for the command line: a program that calls Alembic keeps its own logging.
        logging.config.fileConfig(config.config_file_name, disable_existing_loggers=False)
    schema = config.attributes.get("schema") or given.get("schema") or config.get_main_option("flue_schema")
    placement = Placement(schema or None, config.attributes.get("version_table") or VERSION_TABLE)
    if context.is_offline_mode():
        _offline(config, placement, given)
        return
    with _bind(config, given) as bind:
        if _changes_something():
            under_lock(bind, placement.schema, LOCK_TIMEOUT_MS, lambda found: _change(found, config, placement, given))
        elif isinstance(bind, sa.Connection):
            _look(bind, placement)
        else:
            with connected(bind) as connection:
                connection.execution_options(**schema_dialect(bind.dialect).begin_options, **NO_TRANSLATION)
                _look(connection, placement)


@contextmanager
def _bind(config: Config, given: Mapping[str, Any]) -> Iterator[sa.Engine | sa.Connection]:
    connection = config.attributes.get("connection")
    if connection is not None:
        yield connection
        return
    engine = create_engine(_url(config, given))
    try:
        yield engine
    finally:
        engine.dispose()


def _url(config: Config, given: Mapping[str, Any]) -> str:
    url = given.get("url") or config.get_main_option("sqlalchemy.url") or os.environ.get("DATABASE_URL")
    if not url:
        raise ConfigurationError("No database URL was given.", remedy="Set DATABASE_URL, or pass `-x url=postgresql+psycopg://…`.")
    return str(url)


def _changes_something() -> bool:
    """Whether the command is one of upgrade, downgrade and stamp: only those have a destination."""
    try:
        context.get_revision_argument()
    except KeyError:
        return False
    return True


def _change(connection: sa.Connection, config: Config, placement: Placement, given: Mapping[str, Any]) -> None:
    ways = schema_dialect(connection.dialect)
    verdict = admit(connection, ways, placement)
    if verdict.kind is VerdictKind.AHEAD_COMPATIBLE:
        config.print_stdout("%s Nothing was changed.", verdict.message)
        return
    force = given.get("force") in ("yes", "true", "1")
    _configure(connection, placement, **revision_options(ways, placement, force=force))
    context.run_migrations(context=context.get_context())


def _look(connection: sa.Connection, placement: Placement) -> None:
    """``current``, ``check``, ``revision --autogenerate``: no lock, no stamp, and no version table where there is none."""
    ways = schema_dialect(connection.dialect)
    _configure(connection, placement, dont_mutate=True, **revision_options(ways, placement))
    context.run_migrations()


def _configure(connection: sa.Connection, placement: Placement, **options: Any) -> None:
    metadata = metadata_for(connection.dialect.name, placement.schema)
    comparison = Comparison(connection, placement.schema)
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_schemas=placement.schema is not None,
        include_name=comparison.include_name,
        include_object=comparison.include_object,
        process_revision_directives=comparison.without_implied,
        compare_type=True,
        **options,
    )


def _offline(config: Config, placement: Placement, given: Mapping[str, Any]) -> None:
    dialect = config.attributes.get("dialect_name") or normalize_url(_url(config, given)).get_backend_name()
    context.configure(
        dialect_name=dialect,
        dialect_opts={"paramstyle": "named"},
        literal_binds=True,
        version_table=placement.version_table,
        version_table_schema=placement.version_schema,
        flue_schema=placement.schema,
        flue_guarded=True,
    )
    destination = context.get_revision_argument()
    if destination is None or context.get_starting_revision_argument() is not None:
        # A downgrade, or from one revision to another: Alembic's own script, nothing to stamp.
        with context.begin_transaction():
            context.run_migrations(context=context.get_context())
        return
    adopt = given.get("adopt") in ("yes", "true", "1")
    write_script(context.get_context(), placement, adopt=adopt, revision=str(destination))
