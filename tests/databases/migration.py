"""How a template database gets to head."""

from __future__ import annotations

import importlib.util


def migrate(url: str) -> None:
    """Bring the database at ``url`` to head, as an application's first boot would."""
    if importlib.util.find_spec("flue_sqla.flue") is None:
        _create_all(url)
        return
    from flue_sqla import Flue

    flue = Flue(url)
    try:
        flue.boot()
    finally:
        flue.close()


def _create_all(url: str) -> None:
    """Tables and stamp without the migration."""
    from sqlalchemy import create_engine, insert

    from flue_sqla import models

    engine = create_engine(url)
    metadata = models.metadata_for(engine.dialect.name)
    with engine.begin() as connection:
        metadata.create_all(connection)
        connection.execute(insert(metadata.tables["flue_meta"]).values(key="format_version", value="1"))
    engine.dispose()
