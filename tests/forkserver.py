"""Processes for tests that need many: forked from a server that has no threads, and has imported what takes long to import."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext

__all__ = ["forkserver"]

_PRELOADED = [
    "alembic.command",
    "alembic.config",
    "flue_sqla.dialects.engines",
    "flue_sqla.schema.boot",
    "flue_sqla.schema.environment",
    "flue_sqla.schema.revision",
    "obstore.store",
    "psycopg",
    "pymysql",
    "s3fs",
    "tests.artifacts.crash",
    "tests.schema.booting",
]


def forkserver() -> ForkServerContext:
    """The one server of this process: what it has imported is decided when it starts."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context
