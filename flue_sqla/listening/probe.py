"""Does a notification that we send arrive? Behind a transaction-mode pooler LISTEN succeeds and nothing ever comes."""

from __future__ import annotations

import logging
import secrets

from flue_sqla.errors import FlueError

__all__ = ["PROBE_SECONDS", "Deaf", "Probe", "Unsupported", "explain"]

log = logging.getLogger("flue_sqla.listening")

PROBE_SECONDS = 5.0
"""How long our own notification may take."""


class Deaf(Exception):
    """Our own notification did not arrive."""


class Unsupported(Exception):
    """The driver of the engine cannot listen."""


class Probe:
    """A notification to ourselves."""

    def __init__(self) -> None:
        self.payload = f"probe:{secrets.token_hex(8)}"
        self.arrived = False

    def takes(self, payload: str) -> bool:
        """Whether ``payload`` was this probe or somebody else's, and so nothing to wake anyone for."""
        if payload == self.payload:
            self.arrived = True
        return payload.startswith("probe:")


def explain(reason: Exception, *, direct: bool) -> None:
    """Say, once per listener, why there are no notifications and what can be done."""
    if isinstance(reason, FlueError):
        log.warning("FLUE_LISTEN_URL cannot be used; waiting polls. %s %s", reason, reason.remedy)
    elif isinstance(reason, Unsupported):
        log.warning("The engine's driver cannot listen for notifications; waiting polls. Set FLUE_LISTEN_URL to listen with psycopg.")
    elif direct:
        log.warning("Our own notification did not arrive at FLUE_LISTEN_URL; waiting polls. Does it name the same database, directly?")
    else:
        log.warning(
            "Our own notification did not arrive, as behind a transaction-mode pooler; waiting polls. "
            "Set FLUE_LISTEN_URL to the server's direct address, or FLUE_NOTIFY=false to send none."
        )
