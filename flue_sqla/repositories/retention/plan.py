"""What one call of prune was asked for, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flue_sqla.errors import InvalidInputError
from flue_sqla.records.retention import PruneProgress
from flue_sqla.repositories.submission_removal import RECEIPTS_FOR_MS
from flue_sqla.wire import MAX_SAFE_INTEGER

__all__ = ["Age", "Instance", "Plan", "Tally"]

Age = timedelta | int
Instance = tuple[str, str]

_MOST = 10_000
_MOST_KEPT = 2**31 - 1


@dataclass(frozen=True)
class Plan:
    """Times in epoch ms. ``cutoff`` is None when nothing goes by age or number."""

    now: int
    cutoff: int | None
    keep_last: int
    receipts_for: int
    instances: tuple[Instance, ...]
    batch_size: int
    dry_run: bool

    @classmethod
    def of(
        cls,
        now: int,
        *,
        older_than: Age | None,
        keep_last: int | None,
        receipts_for: Age | None,
        instances: Iterable[Instance],
        batch_size: int,
        dry_run: bool,
    ) -> Plan:
        """Check the arguments of prune.

        Raises:
            InvalidInputError: nothing was named that may go, or an argument is out of range.
        """
        named = tuple(_instance(instance) for instance in instances)
        if older_than is None and keep_last is None and not named:
            raise InvalidInputError(
                "Nothing says what may go.", remedy="Give older_than, keep_last or both, or name the instances whose data is to go."
            )
        if older_than is None and keep_last is None:
            cutoff = None
        else:
            # With a number alone everything that has ended is old enough.
            cutoff = now + 1 if older_than is None else now - _milliseconds("older_than", older_than)
        return cls(
            now=now,
            cutoff=cutoff,
            keep_last=_count("keep_last", keep_last or 0, most=_MOST_KEPT),
            receipts_for=RECEIPTS_FOR_MS if receipts_for is None else _milliseconds("receipts_for", receipts_for),
            instances=named,
            batch_size=min(_count("batch_size", batch_size, least=1), _MOST),
            dry_run=dry_run,
        )


class Tally:
    """Counts rows while they go."""

    def __init__(self, progress: Callable[[PruneProgress], None] | None) -> None:
        self.deleted: dict[str, int] = {}
        self.receipts = 0
        self._progress = progress

    def add(self, counts: dict[str, int]) -> None:
        """Rows by table; ``receipts`` are those that were written."""
        for table, count in counts.items():
            if table == "receipts":
                self.receipts += max(0, count)
            else:
                self.deleted[table] = self.deleted.get(table, 0) + max(0, count)

    def counted(self, count: Callable[[], int]) -> int:
        """How many things there are to go; asked only where somebody wants to see progress."""
        return 0 if self._progress is None else count()

    def tell(self, step: str, done: int, total: int) -> None:
        """Call the caller's progress function."""
        if self._progress is not None:
            self._progress(PruneProgress(step=step, done=done, total=max(done, total)))


def _milliseconds(name: str, age: Age) -> int:
    milliseconds: Any = age // timedelta(milliseconds=1) if isinstance(age, timedelta) else age
    return _count(name, milliseconds)


def _count(name: str, value: Any, *, least: int = 0, most: int = MAX_SAFE_INTEGER) -> int:
    if type(value) is not int or not least <= value <= most:
        raise InvalidInputError(f"{name} must be a whole number from {least} to {most}.", meta={"field": name})
    return value


def _instance(instance: Any) -> Instance:
    if isinstance(instance, tuple | list) and len(instance) == 2 and all(isinstance(part, str) and part for part in instance):
        return instance[0], instance[1]
    raise InvalidInputError("An instance is a pair of agent name and instance id.", meta={"field": "instances"})
