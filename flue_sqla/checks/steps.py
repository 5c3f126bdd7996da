"""Runs steps one after another; a step that fails never keeps the independent ones from being tried."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from flue_sqla.checks.report import Area, CheckReport, Status, Step
from flue_sqla.codes import Code
from flue_sqla.errors import FlueError
from flue_sqla.redaction import Redactor

__all__ = ["Failed", "Steps", "Warned"]

T = TypeVar("T")


class Failed(Exception):
    """A step found something wrong that no error of ours stands for."""

    def __init__(self, detail: str, remedy: str, code: Code) -> None:
        super().__init__(detail)
        self.detail, self.remedy, self.code = detail, remedy, code


class Warned(Exception):
    """A step works, with a reservation."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.detail, self.remedy = detail, remedy


class Steps:
    """Appends the outcome of each step to a report, cleaned of secrets."""

    def __init__(self, report: CheckReport, redactor: Redactor) -> None:
        self._report = report
        self._redactor = redactor

    def run(self, name: str, area: Area, work: Callable[[], str]) -> bool:
        """Do one step; ``work`` returns what it found. True unless it failed."""
        started = time.perf_counter()

        def done(status: Status, detail: str, remedy: str = "", code: str | None = None) -> bool:
            elapsed = round((time.perf_counter() - started) * 1000)
            clean = self._redactor.clean
            self._report.steps.append(Step(name, area, status, elapsed, clean(detail), clean(remedy), code))
            return status is not Status.FAILED

        try:
            return done(Status.OK, work())
        except Warned as warning:
            return done(Status.WARNING, warning.detail, warning.remedy)
        except Failed as failure:
            return done(Status.FAILED, failure.detail, failure.remedy, failure.code)
        except FlueError as error:
            return done(Status.FAILED, error.message, error.remedy, error.code)
        except Exception as error:
            return done(Status.FAILED, _told(error), "Run `flue-sqla --debug check` and read the cause.", Code.UNEXPECTED)

    def skip(self, name: str, area: Area, why: str) -> None:
        """Note a step that was not tried."""
        self._report.steps.append(Step(name, area, Status.SKIPPED, detail=self._redactor.clean(why)))


def _told(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return f"{type(cause).__name__}: {next(iter(str(cause).splitlines()), '')}"
