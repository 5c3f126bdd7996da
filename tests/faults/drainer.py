"""A worker process of the drain test: claims, settles together with a row of its own, and recovers what dead ones left behind.

python -m tests.faults.drainer URL OWNER
"""

from __future__ import annotations

import sys
import time

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from flue_sqla import Flue, FlueSettings, Submission
from flue_sqla.errors import FlueError

__all__ = ["AGENT", "outcomes"]

AGENT = "drain"
LEASE_MS = 1_500

outcomes = sa.Table(
    "outcomes",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("submission_id", sa.String(100), nullable=False),
    sa.Column("session_key", sa.String(200), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
)


def main(url: str, owner: str) -> None:
    flue = Flue(url, settings=FlueSettings(migrate="off"))
    while True:
        try:
            if not work(flue, owner) and not flue.submissions.has_unsettled():
                return
        except (FlueError, DBAPIError):
            time.sleep(0.05)  # the server is being restarted, or ended our connection


def work(flue: Flue, owner: str) -> bool:
    """One round; whether anything was done."""
    for expired in flue.submissions.list_expired():
        if expired.attempt is not None:
            flue.submissions.requeue(expired.attempt)
    claimed = flue.submissions.claim_next(owner_id=owner, agents=[AGENT], limit=4, lease_expires_at=int(time.time() * 1000) + LEASE_MS)
    for submission in claimed:
        settle(flue, submission)
    return bool(claimed)


def settle(flue: Flue, submission: Submission) -> None:
    """Complete the submission and record that, in one transaction."""
    assert submission.attempt is not None
    with flue.engine.begin() as connection:
        if flue.bind(connection).submissions.complete(submission.attempt):
            number = int(submission.input["message"]["body"])
            row = {"submission_id": submission.submission_id, "session_key": submission.session_key, "number": number}
            connection.execute(sa.insert(outcomes).values(row))


if __name__ == "__main__":
    main(*sys.argv[1:])
