"""A database after years of use: what no hot statement may have to read."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from flue_sqla import Flue
from flue_sqla.models.tables import batches, streams, submissions

__all__ = ["fill"]

ACCEPTED_AT = 1_780_444_800_000
SETTLED, UNSETTLED, SESSIONS, BUSY, FOREIGN, BATCHES = 200_000, 20_000, 5_000, 15_000, 15_000, 50_000


def fill(flue: Flue) -> None:
    """200,000 settled and 20,000 unsettled submissions in 5,000 sessions behind 15,000 of one busy session and 15,000 of another agent."""
    with flue.engine.begin() as connection:
        if flue.engine.dialect.name == "mysql":
            connection.exec_driver_sql("SET max_recursive_iterations = 10000000")
        # The busy session and the other agent lie first.
        _submissions(connection, "busy", BUSY, agent="assistant", sessions=1, instance="busy", ready=True)
        _submissions(connection, "foreign", FOREIGN, agent="other", sessions=FOREIGN, instance="foreign", ready=True)
        _submissions(connection, "settled", SETTLED, agent="assistant", sessions=SESSIONS, instance="i", ready=True, status="settled")
        # Every session's head is not ready, so that nothing behind it may run.
        _submissions(connection, "unsettled", UNSETTLED, agent="assistant", sessions=SESSIONS, instance="i", ready=False)
        _stream(connection)
    with flue.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        analyze = {"postgresql": "VACUUM ANALYZE", "sqlite": "ANALYZE", "mysql": "ANALYZE TABLE flue_agent_submissions"}
        connection.exec_driver_sql(analyze[flue.engine.dialect.name])


def _numbers(count: int) -> sa.CTE:
    first = sa.select(sa.literal(0).label("n")).cte("numbers", recursive=True)
    return first.union_all(sa.select(first.c.n + 1).where(first.c.n < count - 1))


def _submissions(
    connection: sa.Connection,
    prefix: str,
    count: int,
    *,
    agent: str,
    sessions: int,
    instance: str,
    ready: bool,
    status: str = "queued",
) -> None:
    n = _numbers(count).c.n
    number, session = sa.cast(n, sa.CHAR(12)), sa.cast(n % sessions, sa.CHAR(12))
    submission_id = sa.literal(prefix + "-").concat(sa.func.trim(number))
    instance_id = sa.literal(instance + "-").concat(sa.func.trim(session))
    key = sa.literal(f'agent-session:["{agent}","').concat(instance_id).concat('","default","default"]')
    payload = (
        sa.literal('{"kind":"dispatch","submissionId":"')
        .concat(submission_id)
        .concat(f'","agent":"{agent}","id":"')
        .concat(instance_id)
        .concat('","message":{"kind":"user","body":"x"},"acceptedAt":"2026-06-03T00:00:00.000Z"}')
    )
    values: dict[str, Any] = {
        "submission_id": submission_id,
        "session_key": key,
        "kind": sa.literal("dispatch"),
        "payload": payload,
        "status": sa.literal(status),
        "accepted_at": sa.literal(ACCEPTED_AT, sa.BigInteger()),
        "canonical_ready_at": sa.literal(ACCEPTED_AT if ready else None, sa.BigInteger()),
        "settled_at": sa.literal(ACCEPTED_AT if status == "settled" else None, sa.BigInteger()),
    }
    connection.execute(sa.insert(submissions).from_select(list(values), sa.select(*values.values())))


def _stream(connection: sa.Connection) -> None:
    connection.execute(
        sa.insert(streams).values(
            path="agents/assistant/long",
            identity_json='{"agentName":"assistant","instanceId":"long"}',
            next_offset=BATCHES,
            producer_id="owner",
            producer_epoch=1,
            next_producer_sequence=BATCHES,
            incarnation="inc_long",
        )
    )
    n = _numbers(BATCHES).c.n
    values: dict[str, Any] = {
        "path": sa.literal("agents/assistant/long"),
        "seq": n,
        "producer_id": sa.literal("owner"),
        "producer_epoch": sa.literal(1),
        "producer_sequence": n,
        "data": sa.literal('[{"id":"record"}]'),
    }
    connection.execute(sa.insert(batches).from_select(list(values), sa.select(*values.values())))
