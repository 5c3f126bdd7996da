"""The index of runs: one keyset page per statement, each filter with an index in the order of the listing (spec/runs.md §3)."""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa

from flue_sqla.models.tables import runs
from flue_sqla.repositories.runs.rows import POINTER_COLUMNS

__all__ = ["page_statement"]


@cache
def page_statement(*, status: bool, workflow: bool, after: bool, row_values: bool) -> sa.Select[Any]:
    """One page, newest first, with the filters that are given.

    ``after`` continues below the position ``(after_started, after_run)``. ``row_values`` says that the database reads a comparison of
    tuples as one index range; elsewhere the same condition is written as two ranges of the index.
    """
    page = sa.select(*POINTER_COLUMNS).order_by(runs.c.started_at.desc(), runs.c.run_id.desc())
    if status:
        page = page.where(runs.c.status == sa.bindparam("of_status", type_=sa.Text()))
    if workflow:
        page = page.where(runs.c.workflow_name == sa.bindparam("of_workflow", type_=sa.Text()))
    if after:
        page = page.where(_below(row_values=row_values))
    return page.limit(sa.bindparam("fetch", type_=sa.Integer()))


def _below(*, row_values: bool) -> sa.ColumnElement[bool]:
    started, run_id = sa.bindparam("after_started", type_=sa.Text()), sa.bindparam("after_run", type_=sa.Text())
    if row_values:
        return sa.tuple_(runs.c.started_at, runs.c.run_id) < sa.tuple_(started, run_id)
    return sa.or_(runs.c.started_at < started, sa.and_(runs.c.started_at == started, runs.c.run_id < run_id))
