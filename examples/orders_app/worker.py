"""``flue-sqla worker orders_app.worker:worker``, configured by the environment (DATABASE_URL, FLUE_…)."""

from __future__ import annotations

import os

from flue_sqla import Flue
from flue_sqla.worker import Timing, Worker
from orders_app.ordering import AGENT
from orders_app.reporting import report


def worker() -> Worker:
    """A worker of four threads. Short leases, so that the work of a killed process waits seconds, not half a minute."""
    lease_ms = int(os.environ.get("ORDERS_LEASE_MS", "30000"))
    timing = Timing(lease_ms=lease_ms, heartbeat_ms=lease_ms // 4, scan_ms=lease_ms // 3)
    return Worker(Flue.from_settings(), agents={AGENT: report}, concurrency=4, timing=timing)
