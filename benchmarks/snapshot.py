"""How long a snapshot of many rows takes, out and in.

    python benchmarks/snapshot.py                          PostgreSQL of the test suite on loopback, 50,000 rows
    python benchmarks/snapshot.py --database mariadb
    python benchmarks/snapshot.py --rows 500000 --repeat 3

The rows are mixed as a busy application has them: half of them batches of conversation streams, the rest submissions, events, runs, session
entries. The limits of the server that this library replaces are 0.6 s for the export and 3.5 s for the import of 50,000 rows. Prints one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sqlalchemy as sa

from flue_sqla import Flue, snapshot
from flue_sqla.dialects import implementation
from flue_sqla.snapshot.catalogue import table_named
from flue_sqla.snapshot.rows import Rows

TEXT = json.dumps({"type": "message", "text": "The quick brown fox jumps over the lazy dog. " * 4, "at": "2026-01-01T00:00:00.000Z"})
PAGE = 5000


def rows_of(total: int) -> dict[str, tuple[list[str], list[tuple[Any, ...]]]]:
    """Columns and rows by table; about ``total`` rows together."""
    streams, share = max(1, total // 500), total // 10
    batches = total // 2
    per_stream = max(1, batches // streams)
    key = 'agent-session:["support","i{}","default","default"]'
    return {
        "flue_agent_submissions": (
            ["submission_id", "session_key", "kind", "payload", "status", "accepted_at", "settled_at", "attempt_count"],
            [(f"sub_{n:09d}", key.format(n % streams), "direct", TEXT, "settled", 1, 2, 1) for n in range(share)],
        ),
        "flue_conversation_streams": (
            ["path", "identity_json", "next_offset", "producer_id", "producer_epoch", "next_producer_sequence", "incarnation"],
            [(f"agents/support/i{n:06d}", "{}", per_stream, "p", 1, per_stream, "i") for n in range(streams)],
        ),
        "flue_conversation_stream_batches": (
            ["path", "seq", "producer_id", "producer_epoch", "producer_sequence", "data", "submission_id", "attempt_id"],
            [
                (f"agents/support/i{n // per_stream:06d}", n % per_stream, "p", 1, n % per_stream, f"[{TEXT}]", None, None)
                for n in range(min(batches, per_stream * streams))
            ],
        ),
        "flue_sessions": (["id", "data"], [(f"ses_{n:06d}", "{}") for n in range(share // 10 * 2)]),
        "flue_session_entries": (
            ["session_id", "entry_id", "position", "data"],
            [(f"ses_{n // 10:06d}", f"e{n % 10}", n % 10, TEXT) for n in range(share // 10 * 15)],
        ),
        "flue_runs": (
            ["run_id", "workflow_name", "status", "started_at", "payload", "ended_at", "is_error", "duration_ms", "result"],
            [
                (f"run_{n:09d}", "w", "completed", "2026-01-01T00:00:00.000Z", TEXT, "2026-01-01T00:00:01.000Z", False, 5, TEXT)
                for n in range(share)
            ],
        ),
        "flue_event_streams": (["path", "next_offset", "closed"], [(f"runs/{n:06d}", 10, True) for n in range(share // 10 * 2)]),
        "flue_event_stream_entries": (
            ["path", "seq", "data", "event_key"],
            [(f"runs/{n // 10:06d}", n % 10, TEXT, None) for n in range(share // 10 * 15)],
        ),
    }


def fill(flue: Flue, total: int) -> None:
    """Write the rows, as fast as an import would."""
    with flue.engine.begin() as connection:
        rows = Rows(connection, implementation(connection.dialect), flue.schema)
        for name, (columns, values) in rows_of(total).items():
            table = table_named(name)
            assert table is not None
            for start in range(0, len(values), PAGE):
                rows.insert(table, columns, values[start : start + PAGE])


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(url: str, fresh: Callable[[], str], total: int, repeat: int) -> dict[str, Any]:
    exports, loads = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bench.snap")
        source = Flue(url)
        source.boot()
        fill(source, total)
        if source.engine.dialect.name == "postgresql":
            with source.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(sa.text("VACUUM ANALYZE"))
        for _ in range(repeat):
            exports.append(timed(lambda: snapshot.export(source, path)))
        info = snapshot.inspect(path)
        for _ in range(repeat):
            target = Flue(fresh())
            target.boot()
            loads.append(timed(lambda target=target: snapshot.load(target, path)))
            target.close()
        source.close()
    return {
        "rows": info.rows,
        "file_bytes": info.file_bytes,
        "export_seconds": _summary(exports),
        "import_seconds": _summary(loads),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _summary(seconds: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(seconds), 3), "best": round(min(seconds), 3), "worst": round(max(seconds), 3)}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--database", default="postgres", choices=("postgres", "mariadb", "sqlite"))
    arguments.add_argument("--rows", type=int, default=50_000)
    arguments.add_argument("--repeat", type=int, default=5)
    given = arguments.parse_args()
    from tests.databases.servers import Servers

    servers = Servers()
    try:
        server = servers.get(given.database)
        found = measure(server.create_database().url, lambda: server.create_database().url, given.rows, given.repeat)
    finally:
        servers.close()
    print(json.dumps({"database": given.database, **found}))


if __name__ == "__main__":
    main()
