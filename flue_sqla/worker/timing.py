"""The worker's timers (spec/lifecycle.md §1)."""

from __future__ import annotations

from dataclasses import dataclass, fields

from flue_sqla.errors import ConfigurationError

__all__ = ["Timing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """All in milliseconds.

    Args:
        lease_ms: how long a claim is ours without a heartbeat. A killed worker's work is taken over after so long.
        heartbeat_ms: how often leases are renewed; well inside ``lease_ms``.
        watch_ms: how often a worker looks for aborts and deadlines of what it runs.
        scan_ms: how often it looks for expired leases, pending settlements and stranded joins of others.
        grace_ms: how long a handler may take to notice an abort or a deadline before its submission is settled over its head.
        shutdown_ms: how long a stopping worker waits for its handlers to reach a boundary.
        error_pause_ms: the pause after a failed claim.
        unready_ms: how long the process that admitted a submission gets to make it ready before a worker does.
        retry_ms: the first pause after a transient error; it doubles with each (spec/lifecycle.md §1).
    """

    lease_ms: int = 30_000
    heartbeat_ms: int = 10_000
    watch_ms: int = 1_000
    scan_ms: int = 15_000
    grace_ms: int = 60_000
    shutdown_ms: int = 30_000
    error_pause_ms: int = 1_000
    unready_ms: int = 100
    retry_ms: int = 2_000

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise ConfigurationError(f"{field.name} is negative.", meta={"field": field.name})
        if self.heartbeat_ms * 2 > self.lease_ms:
            raise ConfigurationError(
                f"heartbeat_ms ({self.heartbeat_ms}) must be at most half of lease_ms ({self.lease_ms}).",
                meta={"field": "heartbeat_ms"},
                remedy="Renew leases at least twice within their length, so that one late heartbeat costs nothing.",
            )
