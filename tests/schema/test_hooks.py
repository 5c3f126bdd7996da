"""What a host's autogenerate does not see."""

from __future__ import annotations

import sqlalchemy as sa

from flue_sqla.models import Base, metadata_for
from flue_sqla.schema import hooks


def test_all_our_tables_are_hidden_and_no_other() -> None:
    for name in [*Base.metadata.tables, *metadata_for("mysql").tables, "flue_alembic_version", "flue_event_stream_keys"]:
        assert not hooks.include_name(name, "table", {})
        assert not hooks.include_name("anything", "index", {"table_name": name})
        assert not hooks.include_object(None, name, "table", True, None)
    for name in ("orders", "flue_customers", "alembic_version"):
        assert hooks.include_name(name, "table", {})
        assert hooks.include_object(None, name, "table", True, None)
    assert hooks.include_name("agents", "schema", {})


def test_things_in_our_tables_are_hidden_too() -> None:
    ours = metadata_for("postgresql").tables["flue_runs"]
    theirs = sa.Table("orders", sa.MetaData(), sa.Column("id", sa.Integer), sa.Index("orders_idx", "id"))
    assert not hooks.include_object(ours.c.run_id, "run_id", "column", False, None)
    assert not any(hooks.include_object(index, index.name, "index", False, None) for index in ours.indexes)
    assert hooks.include_object(theirs.c.id, "id", "column", False, None)
