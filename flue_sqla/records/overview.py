"""What an operator is told: how much waits, and what each submission is doing."""

from __future__ import annotations

from flue_sqla.records.base import Record

__all__ = ["AgentStatus", "StatusReport", "SubmissionSummary"]


class AgentStatus(Record):
    """Unsettled work of one agent; ``agent`` is None where a session key names none. ``oldest_waiting_at`` in epoch ms."""

    agent: str | None
    sessions: int
    queued: int
    unready: int
    """Of the queued ones, those whose conversation is not materialized yet."""
    running: int
    expired: int
    """Of the running ones, those whose lease has run out."""
    terminalizing: int
    joining: int
    joined: int
    oldest_waiting_at: int | None


class StatusReport(Record):
    """The state of the whole queue at ``at`` (epoch ms), with the runs that have not ended."""

    at: int
    agents: list[AgentStatus]
    active_runs: int
    oldest_active_run: str | None
    pending_deletions: int


class SubmissionSummary(Record):
    """One submission without its input. Times are epoch ms."""

    sequence: int
    submission_id: str
    session_key: str
    kind: str
    status: str
    accepted_at: int
    canonical_ready_at: int | None
    started_at: int | None
    settled_at: int | None
    attempt_id: str | None
    attempt_count: int
    max_attempts: int
    owner_id: str | None
    lease_expires_at: int
    abort_requested_at: int | None
    joined_into: str | None
    error: str | None
