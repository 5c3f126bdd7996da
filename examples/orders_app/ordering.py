"""Placing orders: the application's row and the agent's work, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from flue_sqla import Flue
from orders_app.models import Order

AGENT = "orders-app-report"


def place(flue: Flue, batch: str, files: Sequence[Path], *, desks: int) -> list[str]:
    """Order a report on each file; both rows are there, or none. Each of the ``desks`` works off its files in order.

    Returns:
        The submission ids, desk by desk in the order of admission.
    """
    submission_ids = []
    # One transaction per desk: an admission holds its session's lock until the commit.
    with Session(flue.engine) as session:
        for desk in range(desks):
            with session.begin():
                accept = flue.bind(session)
                for file in files[desk::desks]:
                    receipt = accept.dispatch(AGENT, id=f"{batch}-{desk:02}", message=str(file), idempotency_key=str(file))
                    session.add(Order(batch=batch, path=str(file), size=file.stat().st_size, submission_id=receipt.submission_id))
                    submission_ids.append(receipt.submission_id)
    return submission_ids
