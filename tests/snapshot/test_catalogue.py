"""No table and no column is left out of snapshots by accident."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from flue_sqla.models import Base, metadata_for
from flue_sqla.snapshot.catalogue import EXCLUDED, PARTS, TABLES


def unlisted(metadata: sa.MetaData) -> set[str]:
    return set(metadata.tables) - {table.name for table in TABLES} - set(PARTS) - set(EXCLUDED)


def test_every_table_is_in_a_snapshot_or_excluded_with_a_reason() -> None:
    assert unlisted(Base.metadata) == set()
    assert all(reason for reason in (*PARTS.values(), *EXCLUDED.values()))


def test_a_new_table_is_noticed() -> None:
    metadata = sa.MetaData()
    for table in Base.metadata.sorted_tables:
        table.to_metadata(metadata)
    sa.Table("flue_something_new", metadata, sa.Column("id", sa.Text, primary_key=True))
    assert unlisted(metadata) == {"flue_something_new"}


def test_nothing_is_listed_twice_or_does_not_exist() -> None:
    names = [*(table.name for table in TABLES), *PARTS, *EXCLUDED]
    assert sorted(names) == sorted(set(names)) == sorted(Base.metadata.tables)


@pytest.mark.parametrize("dialect", ["postgresql", "mysql", "sqlite"])
def test_a_table_that_is_excluded_or_part_of_another_is_not_left_out_where_it_is_the_only_place(dialect: str) -> None:
    present = set(metadata_for(dialect).tables)
    assert {table.name for table in TABLES} <= present
    assert present - {table.name for table in TABLES} <= set(PARTS) | set(EXCLUDED)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_all_columns_are_there_and_the_key_is_one(table) -> None:
    assert {column.name for column in table.table.columns} - set(table.columns) == set(table.layout_columns)
    primary = {column.name for column in table.table.primary_key}
    assert set(table.key) == primary
    for names in (*table.unique, *(reference.columns for reference in table.references)):
        assert set(names) <= set(table.columns)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_unique_key_of_the_database_is_known(table) -> None:
    """What a database would refuse as a duplicate is found before anything is sent to it."""
    for dialect in ("postgresql", "mysql", "sqlite"):
        physical = metadata_for(dialect).tables[table.name]
        keys = [tuple(column.name for column in item.columns) for item in physical.constraints if isinstance(item, sa.UniqueConstraint)]
        keys += [tuple(column.name for column in index.columns) for index in physical.indexes if index.unique]
        for key in keys:
            # A key that contains the primary key is no further rule.
            assert key in table.unique or set(table.key) <= set(key), key


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_what_is_referred_to_comes_first(table) -> None:
    order = [other.name for other in TABLES]
    for reference in table.references:
        assert order.index(reference.target) < order.index(table.name)
