"""The application's Alembic environment; with the two hooks its autogenerate never sees flue-sqla's tables."""

from __future__ import annotations

from alembic import context

from flue_sqla.schema import hooks
from orders_app.database import VERSION_TABLE
from orders_app.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    include_name=hooks.include_name,
    include_object=hooks.include_object,
)
with context.begin_transaction():
    context.run_migrations()
