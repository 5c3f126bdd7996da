"""What differs between PostgreSQL, MySQL/MariaDB and SQLite, behind one protocol."""

from __future__ import annotations

from sqlalchemy.engine import Dialect

from flue_sqla.dialects.base import DialectImpl, Fault
from flue_sqla.errors import ConfigurationError

__all__ = ["DialectImpl", "Fault", "implementation", "register"]

_third_party: dict[str, type[DialectImpl]] = {}


def register(name: str, implementation_class: type[DialectImpl]) -> None:
    """Make a third party's dialect known under SQLAlchemy's ``Dialect.name``; it wins over ours of the same name."""
    _third_party[name] = implementation_class


def implementation(dialect: Dialect) -> DialectImpl:
    """The implementation for one engine's dialect.

    Raises:
        ConfigurationError: no implementation is registered under the dialect's name.
    """
    known = {**_ours(), **_third_party}
    try:
        return known[dialect.name]()
    except KeyError:
        raise ConfigurationError(
            f"The database {dialect.name!r} is not supported.",
            meta={"dialect": dialect.name, "supported": sorted(known)},
            remedy="Use PostgreSQL, MySQL, MariaDB or SQLite, or register an implementation with flue_sqla.dialects.register().",
        ) from None


def _ours() -> dict[str, type[DialectImpl]]:
    from flue_sqla.dialects.mysql import MySQLImpl
    from flue_sqla.dialects.postgresql import PostgreSQLImpl
    from flue_sqla.dialects.sqlite import SQLiteImpl

    return {"postgresql": PostgreSQLImpl, "mysql": MySQLImpl, "mariadb": MySQLImpl, "sqlite": SQLiteImpl}
