"""The application's migrations. They know nothing of flue-sqla's tables, and flue-sqla's know nothing of these."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

VERSION_TABLE = "orders_app_alembic_version"


def migrate(engine: sa.Engine) -> None:
    """Bring the application's own table to head; what `alembic upgrade head` would do."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
