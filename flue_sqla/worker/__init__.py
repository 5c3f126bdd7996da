"""Running submissions durably: claims, leases, steps, recovery, settlement (docs/worker.md, spec/lifecycle.md)."""

from __future__ import annotations

from flue_sqla.errors import TransientError
from flue_sqla.worker.agent import Agent
from flue_sqla.worker.blocking import BlockingContext
from flue_sqla.worker.context import Context
from flue_sqla.worker.interruptions import Aborted, Interruption, Lost, Stopping, TimedOut
from flue_sqla.worker.joins import Delivery
from flue_sqla.worker.timing import Timing
from flue_sqla.worker.worker import Worker

__all__ = [
    "Aborted",
    "Agent",
    "BlockingContext",
    "Context",
    "Delivery",
    "Interruption",
    "Lost",
    "Stopping",
    "TimedOut",
    "Timing",
    "TransientError",
    "Worker",
]
