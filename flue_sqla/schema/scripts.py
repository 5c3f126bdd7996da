"""Where the Alembic scripts are: in the wheel as ``flue_sqla/_alembic``, in a checkout as ``alembic/`` beside the package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flue_sqla.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

__all__ = ["alembic_config", "script_location", "version_location"]

_PACKAGE = Path(__file__).resolve().parent.parent


def script_location() -> Path:
    """The folder with ``env.py`` and ``versions/``.

    Raises ConfigurationError when the package was installed without its scripts.
    """
    for folder in (_PACKAGE / "_alembic", _PACKAGE.parent / "alembic"):
        # env.py tells our folder from the library of the same name, which is our neighbour in site-packages.
        if (folder / "env.py").is_file() and (folder / "versions").is_dir():
            return folder
    raise ConfigurationError(
        "The migration scripts are missing from the installation.",
        meta={"package": str(_PACKAGE)},
        remedy="Install flue-sqla again from a wheel.",
    )


def version_location() -> Path:
    """The folder of our revisions, for the ``version_locations`` of a host that wants one history (docs/migrations.md)."""
    return script_location() / "versions"


def alembic_config(*, url: str | None = None, connection: Connection | None = None, schema: str | None = None) -> Config:
    """What ``alembic.command`` needs to run our scripts without an ini file, from an installed package too.

    Args:
        url: Where to connect; unset, DATABASE_URL is asked.
        connection: Used instead of a URL, in whatever transaction it is; behind the greenlet bridge the sync side of an async one.
        schema: Where our tables are or will be.
    """
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    if url is not None:
        config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    config.attributes.update(connection=connection, schema=schema)
    return config
