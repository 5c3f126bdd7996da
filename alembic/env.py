"""Alembic's entry point; what it does, guard and lock included, is in the package and the same for every way of migrating."""

from flue_sqla.schema.environment import run

run()
