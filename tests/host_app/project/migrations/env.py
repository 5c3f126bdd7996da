"""The shop's Alembic environment: the usual one, plus two hooks."""

from __future__ import annotations

import os

from alembic import context
from shop.models import Base
from sqlalchemy import create_engine

from flue_sqla.schema import hooks

OPTIONS = {"target_metadata": Base.metadata, "include_name": hooks.include_name, "include_object": hooks.include_object}


def offline() -> None:
    context.configure(url=os.environ["DATABASE_URL"], literal_binds=True, dialect_opts={"paramstyle": "named"}, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


def online() -> None:
    engine = create_engine(os.environ["DATABASE_URL"])
    with engine.connect() as connection:
        context.configure(connection=connection, **OPTIONS)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


if context.is_offline_mode():
    offline()
else:
    online()
