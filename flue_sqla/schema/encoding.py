"""Whether the database keeps every text: messages hold any character, and not every character set does (spec/schema.md §3)."""

from __future__ import annotations

import sqlalchemy as sa

from flue_sqla.dialects.ddl import NO_TRANSLATION, SchemaDialect
from flue_sqla.errors import SchemaVersionError
from flue_sqla.models import metadata_for

__all__ = ["refuse_other_encodings"]


def refuse_other_encodings(connection: sa.Connection, ways: SchemaDialect, schema: str | None) -> None:
    """Refuse a database whose new tables, or our tables that are there, cannot hold every character.

    MySQL's INSERT IGNORE, by which Flue admits work, stores question marks in their place and says nothing.

    Raises SchemaVersionError; nothing was changed.
    """
    tables = sorted(table.name for table in metadata_for(connection.dialect.name).sorted_tables)
    statement = ways.other_encodings(schema, tables)
    if statement is None:
        return
    found = {str(name): str(encoding) for name, encoding in connection.execute(statement, execution_options=NO_TRANSLATION)}
    if found:
        shown = ", ".join(f"{name} ({encoding})" for name, encoding in found.items())
        raise SchemaVersionError(
            f"The character set does not hold every text: {shown}.", meta={"encodings": found}, remedy=ways.encoding_remedy
        )
