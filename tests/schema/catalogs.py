"""Everything that a catalog says about a database, in a form that two moments can be compared by."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from tests.databases.contract import Database
from tests.schema import spec_ddl


def execute(database: Database, *statements: str) -> None:
    """Run statements in one connection, committed."""
    engine = sa.create_engine(database.url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def create_stamp(database: Database, *rows: tuple[str, str]) -> None:
    """``flue_meta`` with these rows, as a Flue server leaves it."""
    execute(database, spec_ddl.META[database.name])
    engine = sa.create_engine(database.url)
    meta = sa.table("flue_meta", sa.column("key"), sa.column("value"))
    with engine.begin() as connection:
        for key, value in rows:
            connection.execute(sa.insert(meta).values(key=key, value=value))
    engine.dispose()


def create_flue_database(database: Database, *, stamp: tuple[str, str] = ("format_version", "1")) -> None:
    """What a Flue 2.x server creates, by the specification's DDL."""
    create_stamp(database, stamp)
    execute(database, *spec_ddl.statements(spec_ddl.TABLES[database.name]))


def stamps(database: Database, schema: str | None = None) -> dict[str, str]:
    """The rows of ``flue_meta``."""
    meta = sa.table("flue_meta", sa.column("key"), sa.column("value"), schema=schema)
    return {str(key): str(value) for key, value in rows(database, sa.select(meta.c.key, meta.c.value))}


def rows(database: Database, statement: sa.Executable) -> list[Any]:
    engine = sa.create_engine(database.url)
    with engine.connect() as connection:
        found = list(connection.execute(statement))
    engine.dispose()
    return found


def catalog(database: Database, schema: str | None = None) -> dict[str, Any]:
    """Tables, columns, keys, checks, indexes, and every row of ``flue_meta`` and of the version tables."""
    engine = sa.create_engine(database.url)
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        found: dict[str, Any] = {name: _table(inspector, name, schema) for name in sorted(inspector.get_table_names(schema=schema))}
        for name in sorted({"flue_meta", "flue_alembic_version", "alembic_version"} & set(found)):
            found[f"rows of {name}"] = sorted(
                map(tuple, connection.execute(sa.select(sa.text("*")).select_from(sa.table(name, schema=schema))))
            )
        found["views"] = sorted(inspector.get_view_names(schema=schema))
    engine.dispose()
    return found


def _table(inspector: sa.Inspector, name: str, schema: str | None) -> dict[str, Any]:
    return {
        "columns": [
            (column["name"], repr(column["type"]), column["nullable"], column["default"])
            for column in inspector.get_columns(name, schema=schema)
        ],
        "primary key": inspector.get_pk_constraint(name, schema=schema),
        "unique": sorted(map(repr, inspector.get_unique_constraints(name, schema=schema))),
        "foreign keys": sorted(map(repr, inspector.get_foreign_keys(name, schema=schema))),
        "checks": sorted(map(repr, inspector.get_check_constraints(name, schema=schema))),
        "indexes": sorted(_index(dict(index)) for index in inspector.get_indexes(name, schema=schema)),
    }


def _index(index: dict[str, Any]) -> str:
    options = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return repr({**index, "dialect_options": options})


def count_statements(engine: sa.Engine) -> list[str]:
    """Every statement that the engine sends from now on, in the order of sending."""
    seen: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *arguments: seen.append(arguments[2]))
    return seen
