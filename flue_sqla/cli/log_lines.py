"""How a worker process writes its log: lines for people, or one JSON object per line for programs."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

__all__ = ["configure"]


class _JsonLines(logging.Formatter):
    """Time, level, logger, message, and the fields of a worker's event as they are."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "pid": os.getpid(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "flue", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: str, form: str) -> None:
    """Log to standard error; ``form`` is ``text`` or ``json``. For processes that are ours, never inside a host's."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter(f"%(asctime)s %(levelname)s {os.getpid()} %(name)s: %(message)s")
    handler.setFormatter(_JsonLines() if form == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if level != "debug":
        # What it tells at each boot is about itself.
        logging.getLogger("alembic").setLevel(logging.WARNING)
