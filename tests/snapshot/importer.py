"""A process that imports and kills itself: ``importer.py URL STORE FILE MODE STEP``.

STEP is ``statement:N`` (before the Nth statement of the loading transaction), ``commit`` (before it is committed), ``after`` (right after),
or ``upload:N`` (before the Nth upload is completed). Prints ``survived`` when the step was never reached.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import sqlalchemy as sa

from flue_sqla import Flue, snapshot


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(url: str, store: str, file: str, mode: str, step: str) -> None:
    flue = Flue(url, artifacts=store)
    kind, _, number = step.partition(":")
    if kind == "statement":
        _die_before_statement(flue, int(number))
    elif kind == "commit":
        sa.event.listen(flue.engine, "commit", lambda _connection: die())
    elif kind == "upload":
        _die_before_upload(int(number))
    snapshot.load(flue, file, mode=mode)
    if kind == "after":
        die()
    print("survived")


def _die_before_statement(flue: Flue, number: int) -> None:
    from flue_sqla.dialects.bulk import bulk_dialect

    left = [number]

    def count(*_: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            die()

    sa.event.listen(flue.engine, "before_cursor_execute", count)
    # COPY does not pass through SQLAlchemy's cursor.
    bulk: Any = type(bulk_dialect(flue.engine.dialect))
    original = bulk.insert

    def insert(*arguments: Any) -> None:
        count()
        original(*arguments)

    bulk.insert = insert


def _die_before_upload(number: int) -> None:
    from flue_sqla.artifacts.local import LocalUpload

    left = [number]
    original: Any = LocalUpload.complete

    def complete(self: LocalUpload) -> None:
        left[0] -= 1
        if left[0] < 0:
            die()
        original(self)

    LocalUpload.complete = complete  # type: ignore[method-assign]


if __name__ == "__main__":
    main(*sys.argv[1:])
