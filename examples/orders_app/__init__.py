"""A small existing application that embeds flue-sqla: its own model, its own Alembic history, one table. See README.md."""
