"""The least rights: a role that migrates, and a role of an application that boots with ``migrate=verify``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import sqlalchemy as sa
from sqlalchemy.engine.url import URL

from flue_sqla.models import metadata_for, profile_of
from flue_sqla.schema.release import META_TABLE, VERSION_TABLE

__all__ = ["sql"]

_READ = "SELECT"
_WORK = "SELECT, INSERT, UPDATE, DELETE"


def sql(dialect: str, schema: str | None = None, app_role: str = "flue_app", migrator_role: str = "flue_migrator") -> str:
    """The statements that give two existing roles what they need, as a script for an administrator.

    Args:
        dialect: A SQLAlchemy dialect name.
        schema: Where our tables are; None for ``public`` on PostgreSQL and the current database on MySQL.
        app_role: The application's role; on MySQL a user of any host.
        migrator_role: The role that runs ``flue-sqla upgrade`` and owns the tables.

    Returns:
        A script that may be run again; run it after every migration, because rights are given table by table.

    Raises:
        ConfigurationError: the dialect is not supported.
    """
    profile = profile_of(dialect)
    write: dict[str, Callable[..., Iterator[str]]] = {"postgres": _postgres, "mysql": _mysql, "sqlite": _sqlite}
    return "\n".join(write[profile](_Spelling(dialect), _rights(dialect), schema, app_role, migrator_role)) + "\n"


class _Spelling:
    """How a dialect writes names and texts."""

    def __init__(self, dialect: str) -> None:
        # Named parameters, so that no driver's escaping of % gets into the text.
        self._dialect: sa.Dialect = URL.create(dialect).get_dialect()(paramstyle="named")  # type: ignore[call-arg]

    def name(self, name: str) -> str:
        return self._dialect.identifier_preparer.quote_identifier(name)

    def text(self, text: str) -> str:
        literal = sa.literal(str(text), sa.String())
        return str(literal.compile(dialect=self._dialect, compile_kwargs={"literal_binds": True}))


def _rights(dialect: str) -> dict[str, str]:
    """What the application may do, by table: the stamp and the revision it only reads."""
    names = [table.name for table in metadata_for(dialect).sorted_tables] + [VERSION_TABLE]
    return {name: _READ if name in (META_TABLE, VERSION_TABLE) else _WORK for name in sorted(names)}


def _postgres(spell: _Spelling, rights: dict[str, str], schema: str | None, app: str, migrator: str) -> Iterator[str]:
    where = schema or "public"
    yield "-- Least rights on PostgreSQL. Run it as the owner of the schema or a superuser, and again after every migration."
    yield f"GRANT USAGE, CREATE ON SCHEMA {spell.name(where)} TO {spell.name(migrator)};"
    yield f"GRANT USAGE ON SCHEMA {spell.name(where)} TO {spell.name(app)};"
    yield "DO $flue$"
    yield "DECLARE item record;"
    yield "BEGIN"
    yield "  FOR item IN SELECT * FROM (VALUES"
    yield ",\n".join(f"    ({spell.text(name)}, {spell.text(allowed)})" for name, allowed in rights.items())
    yield "  ) AS rights (name, allowed)"
    yield f"  WHERE to_regclass(format('%I.%I', {spell.text(where)}, name)) IS NOT NULL"
    yield "  LOOP"
    yield f"    EXECUTE format('GRANT %s ON %I.%I TO %I', item.allowed, {spell.text(where)}, item.name, {spell.text(app)});"
    yield "  END LOOP;"
    yield "END"
    yield "$flue$;"


def _mysql(spell: _Spelling, rights: dict[str, str], schema: str | None, app: str, migrator: str) -> Iterator[str]:
    where = f"{spell.name(schema)}." if schema else ""
    yield "-- Least rights on MySQL and MariaDB. Rights on tables can only be given once these exist: first the migrating role's, then"
    yield "-- migrate, then the application's, and those again after every migration."
    yield f"GRANT CREATE, ALTER, INDEX, DROP, {_WORK} ON {where}* TO {spell.text(migrator)}@'%';"
    for name, allowed in rights.items():
        yield f"GRANT {allowed} ON {where}{spell.name(name)} TO {spell.text(app)}@'%';"


def _sqlite(spell: _Spelling, rights: dict[str, str], schema: str | None, app: str, migrator: str) -> Iterator[str]:
    yield "-- SQLite has no roles. Both accounts need to write the file and its folder (the -wal and -shm files stand beside it);"
    yield "-- an application that boots with migrate=verify changes no schema."
