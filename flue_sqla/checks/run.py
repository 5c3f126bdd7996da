"""All steps in their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flue_sqla.artifacts.options import StoreOptions
from flue_sqla.checks.database import DatabaseChecks
from flue_sqla.checks.report import Area, CheckReport
from flue_sqla.checks.steps import Steps
from flue_sqla.checks.store import StoreChecks, store_kind
from flue_sqla.dialects.engines import create_engine, normalize_url
from flue_sqla.dialects.inspection import inspection
from flue_sqla.errors import ConfigurationError
from flue_sqla.flue import Flue
from flue_sqla.models import profile_of
from flue_sqla.redaction import Redactor, secrets_of_environment, secrets_of_url
from flue_sqla.settings import FlueSettings

__all__ = ["run_checks"]

_CONNECT_SECONDS: Final = 5
_STORE_ATTEMPTS: Final = 2
_STORE_READ_MS: Final = 10_000


def run_checks(settings: FlueSettings | Callable[[], FlueSettings], *, init: bool = False) -> CheckReport:
    """Check an installation by using it, and leave nothing behind.

    Args:
        settings: what to check, or a function that reads it; what that function raises is the outcome of the first step.
        init: also migrate the database and create a missing bucket; without it the schema is only read.

    Returns:
        Every step with its status, time and remedy. No text in it holds a secret of the settings or of the environment. Waits are
        short: a server that is not there is reported after seconds.
    """
    report = CheckReport()
    redactor = Redactor(secrets_of_environment())
    steps = Steps(report, redactor)
    read: list[FlueSettings] = []

    def configure() -> str:
        read.append(settings() if callable(settings) else settings)
        return "The settings are complete and fit together."

    if not steps.run("settings", Area.CONFIGURATION, configure):
        for name, area in (("database", Area.DATABASE), ("store_write", Area.STORE)):
            steps.skip(name, area, "The settings are wrong.")
        return report
    _check(read[0], report, steps, redactor, init)
    return report


def _check(settings: FlueSettings, report: CheckReport, steps: Steps, redactor: Redactor, init: bool) -> None:
    redactor.learn(settings.secrets())
    redactor.learn(secrets_of_url(settings.database_url))
    redactor.learn([settings.s3_access_key_id or ""])
    url = normalize_url(settings.database_url)
    report.database = redactor.clean(url.set(query={}).render_as_string(hide_password=True))
    try:
        options = StoreOptions.from_settings(_impatient(settings))
    except ConfigurationError as error:
        refusal = error
        options = None
    scheme = options.scheme if options is not None else ""
    report.storage_backend = f"{profile_of(url.get_backend_name())}-{store_kind(scheme)}" if scheme else None
    report.artifacts = _place(options) if options is not None else None
    _check_database(settings, report, steps, init)
    if options is not None:
        StoreChecks(options, report, steps, init=init).run()
        return

    def refuse() -> str:
        raise refusal

    steps.run("store", Area.CONFIGURATION, refuse)


def _check_database(settings: FlueSettings, report: CheckReport, steps: Steps, init: bool) -> None:
    url = normalize_url(settings.database_url)
    opened: list[Flue] = []

    def open_flue() -> str:
        engine = create_engine(inspection(url.get_backend_name()).quick(url, _CONNECT_SECONDS))
        opened.append(Flue(engine=engine, settings=settings))
        return f"The driver {engine.dialect.driver} is installed."

    if not steps.run("driver", Area.CONFIGURATION, open_flue):
        for name, area in (("database", Area.DATABASE), ("clock", Area.DATABASE), ("schema", Area.SCHEMA), ("rights", Area.DATABASE)):
            steps.skip(name, area, "There is no driver.")
        return
    flue = opened[0]
    try:
        DatabaseChecks(flue, report, steps, init=init).run()
    finally:
        flue.close()
        flue.engine.dispose()


def _impatient(settings: FlueSettings) -> FlueSettings:
    """The same with short waits: an operator looks on."""
    waits = {
        "s3_max_attempts": min(settings.s3_max_attempts, _STORE_ATTEMPTS),
        "s3_read_timeout_ms": min(settings.s3_read_timeout_ms, _STORE_READ_MS),
    }
    return settings.model_copy(update=waits)


def _place(options: StoreOptions) -> str:
    """Where the artifacts are, without credentials."""
    if store_kind(options.scheme) == "fs":
        return str(options.folder)
    return f"s3://{options.bucket}" + (f"/{options.prefix}" if options.prefix else "") if options.scheme == "s3" else f"{options.scheme}://"
