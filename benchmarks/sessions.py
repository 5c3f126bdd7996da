"""What long conversations cost: bytes stored for 300 turns, and the time of each operation from 100 to 100,000 entries.

    python -m benchmarks.sessions [--url postgresql+psycopg://…] [--turns 300] [--longest 100000]

Prints the tables of ``docs/sessions.md``. Without ``--url`` it starts a PostgreSQL server of its own.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from benchmarks.servers import postgres
from flue_sqla import Flue
from flue_sqla.models import tables
from flue_sqla.wire import canonical_json, new_id, session_key

KEY = session_key("assistant", "agent-1")
TIME = "2026-06-03T00:00:00.000Z"
TEXT = 230_000
TABLES = ("flue_sessions", "flue_session_entries", "flue_image_chunks")
WORDS = ["the", "agent", "reads", "a", "file", "then", "calls", "tools", "and", "writes", "what", "it", "found", "into", "an", "answer"]


def text(length: int, source: random.Random) -> str:
    """Words, as a conversation has them."""
    words: list[str] = []
    size = 0
    while size < length:
        words.append(source.choice(WORDS))
        size += len(words[-1]) + 1
    return " ".join(words)[:length]


def conversation(messages: int, size: int) -> list[dict[str, Any]]:
    """Prompts and answers in turn, ``size`` bytes of text in all; names as long as Flue's."""
    source = random.Random(1)
    entries: list[dict[str, Any]] = []
    parent = None
    for number in range(messages):
        role = "assistant" if number % 2 else "user"
        message = {"role": role, "content": text(size // messages, source)}
        entries.append({"type": "message", "id": new_id("entry"), "parentId": parent, "timestamp": TIME, "message": message})
        parent = entries[-1]["id"]
    return entries


def document(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The document with these entries."""
    return {
        "version": 8,
        "conversationId": "conv_1",
        "affinityKey": "aff_1",
        "entries": entries,
        "leafId": entries[-1]["id"] if entries else None,
        "childSessions": [],
        "metadata": {},
        "createdAt": TIME,
        "updatedAt": TIME,
    }


# -- storage ------------------------------------------------------------------------------------------------------------------------


def stored_bytes(flue: Flue) -> tuple[int, int]:
    """Bytes of the rows, as PostgreSQL counts them, and of the files with their indexes after VACUUM FULL."""
    with flue.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        rows = files = 0
        for table in TABLES:
            connection.exec_driver_sql(f"VACUUM FULL {table}")
            rows += connection.exec_driver_sql(f"SELECT coalesce(sum(pg_column_size(t.*)), 0) FROM {table} t").scalar_one()
            files += connection.exec_driver_sql(f"SELECT pg_total_relation_size('{table}')").scalar_one()
    return int(rows), int(files)


def storage(flue: Flue, turns: int) -> None:
    """Save after every turn, as an agent does, and look at what is stored then."""
    empty = stored_bytes(flue)[1]
    print("\n| messages |      text |  document |      rows | rows / text |     files | copy per turn |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for messages, size in ((turns // 4, TEXT // 4), (turns, TEXT), (4 * turns, 4 * TEXT), (2 * turns, TEXT)):
        entries = conversation(messages, size)
        flue.sessions.delete(KEY)
        copies = 0
        for spoken in range(1, messages + 1):
            saved = document(entries[:spoken])
            flue.sessions.save(KEY, saved)
            copies += len(canonical_json(saved))
        heard = sum(len(entry["message"]["content"]) for entry in entries)
        whole = len(canonical_json(document(entries)))
        rows, files = stored_bytes(flue)
        cells = f"{heard:>9,} | {whole:>9,} | {rows:>9,} | {rows / heard:>11.2f} | {files - empty:>9,} | {copies / heard:>12.0f}x"
        print(f"| {messages:>8} | {cells} |")
    flue.sessions.delete(KEY)


# -- time ---------------------------------------------------------------------------------------------------------------------------


def fill(flue: Flue, length: int) -> str:
    """A session of ``length`` entries; returns its leaf."""
    entries = conversation(length, 50 * length)
    kept = entries[-5]["id"]
    compaction = {"type": "compaction", "id": new_id("entry"), "parentId": entries[-1]["id"], "timestamp": TIME, "summary": "so far"}
    flue.sessions.save(KEY, document([*entries, {**compaction, "firstKeptEntryId": kept, "tokensBefore": 1}]))
    with flue.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE flue_session_entries")
    return str(compaction["id"])


def milliseconds(call: Callable[[], Any], rounds: int = 50) -> float:
    """The median of some rounds."""
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1000


def times(flue: Flue, longest: int) -> None:
    """The same operations on sessions of growing length."""
    print(f"\n| {'entries':>8} | {'append':>9} | {'context':>9} | {'tail(20)':>9} | {'save, one entry more':>20} | {'load':>9} |")
    print("|---:|---:|---:|---:|---:|---:|")
    length = 100
    while length <= longest:
        leaf = fill(flue, length)

        def append() -> None:
            nonlocal leaf
            entry = {"type": "message", "id": new_id("entry"), "parentId": leaf, "message": {"role": "user", "content": "x"}}
            leaf = flue.sessions.append(KEY, [entry], expected_leaf=leaf)

        appended = milliseconds(append)
        context = milliseconds(lambda: flue.sessions.context(KEY))
        tail = milliseconds(lambda: flue.sessions.tail(KEY, 20))
        loaded = flue.sessions.load(KEY)
        assert loaded is not None

        def save(whole: dict[str, Any] = loaded) -> None:
            last = whole["entries"][-1]
            whole["entries"].append({**last, "id": new_id("entry"), "parentId": last["id"]})
            flue.sessions.save(KEY, whole)

        save()
        saved = milliseconds(save, 5)
        load = milliseconds(lambda: flue.sessions.load(KEY), 3)
        print(f"| {length:>8,} | {appended:>6.2f} ms | {context:>6.2f} ms | {tail:>6.2f} ms | {saved:>17.1f} ms | {load:>6.1f} ms |")
        flue.sessions.delete(KEY)
        length *= 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="an empty PostgreSQL database; default one of its own")
    parser.add_argument("--turns", type=int, default=300)
    parser.add_argument("--longest", type=int, default=100_000)
    arguments = parser.parse_args()
    with postgres(arguments.url) as url:
        flue = Flue(url)
        flue.boot()
        with flue.engine.connect() as connection:
            assert connection.execute(sa.select(tables.sessions.c.id)).first() is None, "the database is not empty"
        print("Storage (bytes; rows as PostgreSQL counts them, files with indexes; the last column is a copy of everything per turn)")
        storage(flue, arguments.turns)
        print("\nTime (median; PostgreSQL)")
        times(flue, arguments.longest)
        flue.close()


if __name__ == "__main__":
    main()
