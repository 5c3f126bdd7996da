"""What every model shares: the declarative base, the constraint names and the column types.

The names are those that PostgreSQL itself gives (``…_pkey``, ``…_key``, ``…_check``), so that a table which a Flue server created and
one of ours are the same table. Types follow spec/schema.md §3 and §4: ``Text`` everywhere, and on MySQL a bounded, bytewise compared
``VARCHAR`` where the column is a key.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Dialect, Integer, LargeBinary, MetaData, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator, TypeEngine

__all__ = [
    "NAMING_CONVENTION",
    "TABLE_OPTIONS",
    "Base",
    "Flag",
    "big_integer",
    "binary",
    "bytewise_text",
    "flag_integer",
    "long_text",
    "nullable_in",
    "only_in",
    "short_ascii",
    "short_text",
    "small_integer",
    "unsigned_integer",
]

NAMING_CONVENTION = {
    "pk": "%(table_name)s_pkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "ck": "%(table_name)s_%(constraint_name)s_check",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
}

TABLE_OPTIONS = {"mysql_engine": "InnoDB", "mariadb_engine": "InnoDB"}
"""Table arguments of every model (spec/schema.md §3: all MySQL tables are InnoDB)."""

_MYSQL = ("mysql", "mariadb")


class Base(DeclarativeBase):
    """Base of all ``flue_*`` models.

    ``Base.metadata`` is the superset of the three profiles: never create tables from it, use ``models.metadata_for(dialect_name)``.
    """

    metadata = MetaData(naming_convention=NAMING_CONVENTION)


def only_in(*profiles: str) -> dict[str, Any]:
    """``info`` of a table, column or constraint that only these profiles have."""
    return {"profiles": frozenset(profiles)}


def nullable_in(*profiles: str) -> dict[str, Any]:
    """``info`` of a column that is NULLable in these profiles and NOT NULL in the others."""
    return {"nullable_in": frozenset(profiles)}


class Flag(TypeDecorator[bool]):
    """A boolean stored as the spec wants it: BOOLEAN on PostgreSQL, INTEGER on SQLite, TINYINT(1) on MySQL (spec/schema.md §1)."""

    impl = Boolean
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(_FLAG_TYPES.get(dialect.name, Boolean()))

    def process_bind_param(self, value: bool | None, dialect: Dialect) -> Any:
        return None if value is None else bool(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> bool | None:
        return None if value is None else bool(value)


_FLAG_TYPES: dict[str, TypeEngine[Any]] = {
    "sqlite": Integer(),
    "mysql": mysql.TINYINT(display_width=1),
    "mariadb": mysql.TINYINT(display_width=1),
}


def short_text(length: int) -> TypeEngine[str]:
    """TEXT; on MySQL ``VARCHAR(length)`` in utf8mb4, compared bytewise. ``length`` counts characters."""
    return Text().with_variant(mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), *_MYSQL)


def bytewise_text(length: int) -> TypeEngine[str]:
    """As ``short_text``, and COLLATE "C" on PostgreSQL: keys of listings whose order must be that of the bytes on every database."""
    varchar = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return Text().with_variant(Text(collation="C"), "postgresql").with_variant(varchar, *_MYSQL)


def short_ascii(length: int, *, bytewise: bool = False) -> TypeEngine[str]:
    """TEXT; on MySQL ``VARCHAR(length)`` in ascii, compared bytewise. ``bytewise`` adds COLLATE "C" on PostgreSQL."""
    varchar = mysql.VARCHAR(length, charset="ascii", collation="ascii_bin")
    text = Text().with_variant(varchar, *_MYSQL)
    return text.with_variant(Text(collation="C"), "postgresql") if bytewise else text


def long_text() -> TypeEngine[str]:
    """TEXT; on MySQL LONGTEXT in the database's default character set, as Flue declares it."""
    return Text().with_variant(mysql.LONGTEXT(), *_MYSQL)


def binary() -> TypeEngine[bytes]:
    """BYTEA, BLOB or LONGBLOB."""
    return LargeBinary().with_variant(mysql.LONGBLOB(), *_MYSQL)


def big_integer() -> TypeEngine[int]:
    """BIGINT; INTEGER on SQLite (where a BIGINT primary key would not become the rowid)."""
    return BigInteger().with_variant(Integer(), "sqlite")


def unsigned_integer() -> TypeEngine[int]:
    """As ``big_integer``, and unsigned on MySQL."""
    return big_integer().with_variant(mysql.BIGINT(unsigned=True), *_MYSQL)


def small_integer() -> TypeEngine[int]:
    """INTEGER everywhere."""
    return Integer()


def flag_integer() -> TypeEngine[int]:
    """0 or 1 as INTEGER also on PostgreSQL; TINYINT(1) on MySQL (spec/schema.md §1)."""
    return Integer().with_variant(mysql.TINYINT(display_width=1), *_MYSQL)
