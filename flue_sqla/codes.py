"""What ``flue-sqla`` reports with a code and without an exception of its own. The codes of exceptions are in ``flue_sqla.errors``."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

__all__ = ["Code"]


class Code(StrEnum):
    """A stable code; ``meaning`` is its line in ``docs/errors.md``."""

    meaning: str

    def __new__(cls, code: str, meaning: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    USAGE = "usage", "The command line is wrong; nothing was done."
    UNEXPECTED = "unexpected", "A failure of no known kind; `--debug` shows its traceback."
    CLOCK_SKEW = "clock_skew", "`check`: the clocks of this host and the database differ by more than a lease lives."
    RIGHTS_MISSING = "rights_missing", "`check`: the role may not do what the application needs."
    STORE_INCONSISTENT = (
        "store_inconsistent",
        "`check`: the object store does not show what was just written or deleted.",
    )
