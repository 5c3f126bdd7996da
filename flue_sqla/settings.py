"""``FlueSettings``: everything that can be configured, as keyword arguments, or as variables where the host asks for that.

Constructing it reads nothing but its arguments. The environment is read by :meth:`FlueSettings.from_env` alone, which
``Flue.from_settings()`` and the command call, so the library never acts on a variable behind its host's back.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, quote_plus

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from flue_sqla import setting_checks as checks
from flue_sqla.errors import ConfigurationError

__all__ = ["DEFAULT_ARTIFACTS", "DEFAULT_DATABASE_URL", "DEFAULT_VERSION_TABLE", "FlueSettings", "read_env_file", "variables"]

DEFAULT_DATABASE_URL = "sqlite:///flue.db"
DEFAULT_ARTIFACTS = "flue-artifacts"
DEFAULT_VERSION_TABLE = "flue_alembic_version"

log = logging.getLogger("flue_sqla")

_MIB = 1024 * 1024
_PREFIX = "FLUE_"
_TESTS = "FLUE_TEST_"
"""What only our own test suite reads."""
_RESEMBLING = 0.75
_FLUENT = "FLUENT_"
# Where the variable is not FLUE_ and the setting's name. The first one wins; those of the server that we replace come last,
# so that an operator's existing env file works unchanged.
_VARIABLES: dict[str, tuple[str, ...]] = {
    "database_url": ("DATABASE_URL", "FLUENT_POSTGRES_URL"),
    "schema_name": ("FLUE_SCHEMA",),
    **{
        name: (f"FLUE_{name.upper()}", f"{_FLUENT}{name.upper()}")
        for name in ("s3_endpoint", "s3_region", "s3_bucket", "s3_access_key_id", "s3_secret_access_key", "s3_force_path_style")
    },
}
# A value of these may be or hold a secret: no message repeats it.
_NEVER_SHOWN = frozenset(
    {"database_url", "listen_url", "artifacts", "s3_endpoint", "s3_access_key_id", "s3_secret_access_key", "s3_session_token"}
)

_SECRET_PARAMETER = re.compile(r"pass|secret|token|key", re.IGNORECASE)

Identifier = Annotated[str, BeforeValidator(checks.identifier)]
Milliseconds = Annotated[int, Field(ge=1, le=86_400_000)]


class FlueSettings(BaseSettings):
    """All settings; immutable. ``docs/settings.md`` lists them with their variables.

    Raises:
        ConfigurationError: one error with every problem, by setting and variable, and no secret value in it.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True, validate_default=False)

    # -- database ---------------------------------------------------------------------------------------------------------------
    database_url: Annotated[str, BeforeValidator(checks.database_url)] = Field(
        default=DEFAULT_DATABASE_URL, description="The database: a postgresql, mysql, mariadb or sqlite URL."
    )
    schema_name: Identifier | None = Field(
        default=None,
        validation_alias=AliasChoices("schema_name", "schema"),
        description="The database schema that holds all our tables; unset: the connection's own.",
    )
    migrate: Literal["auto", "verify", "off"] = Field(
        default="auto", description="What boot does with a schema that is not current: migrate it, refuse, or nothing."
    )
    version_table: Identifier = Field(
        default=DEFAULT_VERSION_TABLE,
        description="Another name than the default is the host's own Alembic version table, our revisions being a branch of its history.",
    )
    version_table_schema: Identifier | None = Field(default=None, description="The database schema of that version table.")
    lock_timeout_ms: Milliseconds = Field(default=60_000, description="How long boot waits for another process's migration.")
    listen_url: Annotated[str, BeforeValidator(checks.postgres_url)] | None = Field(
        default=None, description="A direct PostgreSQL address for notifications, where a transaction-mode pooler is in front."
    )
    notify: Annotated[bool, BeforeValidator(checks.boolean)] = Field(
        default=True, description="Wake waiting processes by LISTEN/NOTIFY on PostgreSQL; polling always goes on behind it."
    )
    poll_interval_ms: Milliseconds = Field(default=1_000, description="How often waiting readers and workers look by themselves.")

    # -- artifacts --------------------------------------------------------------------------------------------------------------
    artifacts: Annotated[str, BeforeValidator(checks.artifact_url)] = Field(
        default=DEFAULT_ARTIFACTS, description="Where artifact bytes are kept: a folder, s3://bucket/prefix, or any fsspec URL."
    )
    artifact_engine: Literal["s3fs", "obstore"] = Field(default="s3fs", description="The client for s3:// URLs.")

    offload_attachments_above: int | None = Field(
        default=None, ge=0, description="Attachments of more bytes than this are kept as artifacts; a Node server cannot read those."
    )

    # -- S3 ---------------------------------------------------------------------------------------------------------------------
    s3_endpoint: Annotated[str, BeforeValidator(checks.endpoint)] | None = Field(
        default=None, description="The S3 server, http(s)://host:port; unset: Amazon's."
    )
    s3_region: str | None = Field(default=None, pattern=r"^[a-z0-9-]+$", description="The region that requests are signed for.")
    s3_bucket: Annotated[str, BeforeValidator(checks.bucket_name)] | None = Field(
        default=None, description="With the prefix another way of writing artifacts=s3://bucket/prefix."
    )
    s3_prefix: Annotated[str, BeforeValidator(checks.key_prefix)] | None = Field(default=None, description="Every key begins with it.")
    s3_access_key_id: str | None = Field(default=None, min_length=1, description="Unset: the client's own credential chain.")
    s3_secret_access_key: SecretStr | None = Field(default=None, description="The secret of that key.")
    s3_session_token: SecretStr | None = Field(default=None, description="The token of temporary credentials.")
    s3_profile: str | None = Field(default=None, min_length=1, description="A profile of the AWS configuration files.")
    s3_role_arn: Annotated[str, BeforeValidator(checks.role_arn)] | None = Field(
        default=None, description="A role to assume with those credentials."
    )
    s3_force_path_style: Annotated[bool, BeforeValidator(checks.boolean)] = Field(
        default=False, description="Put the bucket in the path, not in the host name; most servers other than Amazon's need it."
    )
    s3_connect_timeout_ms: Milliseconds = Field(default=5_000, description="To open a connection.")
    s3_read_timeout_ms: Milliseconds = Field(default=60_000, description="Without a byte from the server.")
    s3_max_attempts: int = Field(default=4, ge=1, le=20, description="Tries of one request, the first included.")
    s3_part_size: int = Field(
        default=8 * _MIB, ge=5 * _MIB, le=5 * 1024 * _MIB, description="Bytes of a part of an upload; it grows with the stream."
    )
    s3_concurrency: int = Field(default=4, ge=1, le=64, description="Parts that are sent at once.")

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments only: what pydantic-settings would read by itself is read by :meth:`from_env` when the host asks."""
        return (init_settings,)

    @classmethod
    def from_env(
        cls,
        env_file: str | os.PathLike[str] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        warn: Callable[[str], None] = log.warning,
        **given: Any,
    ) -> Self:
        """The settings of the environment.

        Args:
            env_file: a file of ``NAME=value`` lines; the environment wins over it.
            environ: instead of ``os.environ``.
            warn: is told, without their values, which ``FLUE_…`` variables are no settings; other programs may use the prefix too.
            given: settings that win over both, for example from a command line; ``None`` is "not given".

        Raises:
            ConfigurationError: with every problem, by variable name.
        """
        merged = {**read_env_file(env_file), **(os.environ if environ is None else environ)}
        if unknown := _unknown_variables(name for name, value in merged.items() if value.strip()):
            warn(f"These variables are no settings and are ignored: {', '.join(unknown)}.")
        names: dict[str, str] = {}
        values: dict[str, Any] = {}
        problems: list[Problem] = []
        for setting in cls.model_fields:
            for variable in variables(setting):
                # An empty variable is an unset one: an env file cannot say it otherwise.
                if setting not in values and merged.get(variable, "").strip():
                    names[setting], values[setting] = variable, merged[variable].strip()
        if names.get("database_url") == "FLUENT_POSTGRES_URL" and not given.get("database_url"):
            problems += _problem_of(checks.postgres_url, "database_url", values)
        for setting, value in given.items():
            if value is not None:
                values[setting] = value
                names.pop(setting, None)
        try:
            settings = cls(**values)
        except ConfigurationError as error:
            known = {problem.setting for problem in problems}
            problems += [problem for problem in _problems_in(error) if problem.setting not in known]
        if problems:
            raise _report(problem.read_from(names.get(problem.setting)) for problem in problems)
        return settings

    @model_validator(mode="wrap")
    @classmethod
    def _one_report(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Collect the problems of single settings and of their combination, so that one run shows them all."""
        problems: list[Problem] = []
        if isinstance(values, dict):
            problems += _contradictions(values)
            if "artifacts" not in values and values.get("s3_bucket") and not problems:
                prefix = str(values.get("s3_prefix") or "").strip("/")
                values = {**values, "artifacts": f"s3://{values['s3_bucket']}" + (f"/{prefix}" if prefix else "")}
        try:
            settings = handler(values)
        except ValidationError as error:
            problems = [*_problems_of(error, values), *problems]
        if problems:
            # The part of the address that came from s3_bucket would be reported a second time.
            derived = any(problem.setting in ("s3_bucket", "s3_prefix") for problem in problems)
            raise _report(problem for problem in problems if not (derived and problem.setting == "artifacts")) from None
        return settings

    @property
    def url(self) -> str:
        """The database URL, password included."""
        return self.database_url

    def secrets(self) -> frozenset[str]:
        """Every secret value in these settings, so that foreign text can be searched for them before it is shown."""
        found = {value.get_secret_value() for value in (self.s3_secret_access_key, self.s3_session_token) if value is not None}
        for url in (self.database_url, self.listen_url, self.artifacts):
            if url is not None and "://" in url:
                found |= _secrets_in(url)
        return frozenset(secret for secret in found if secret)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            if name == "s3_access_key_id" and value is not None:
                yield name, "***"
            else:
                yield name, _masked(value) if name in _NEVER_SHOWN and isinstance(value, str) else value


class Problem:
    """What is wrong with one setting, said without its value where that may be secret."""

    def __init__(self, setting: str, reason: str, variable: str | None = None) -> None:
        self.setting, self.reason, self.variable = setting, reason, variable

    def read_from(self, variable: str | None) -> Problem:
        """The same problem, of a value that came from this variable."""
        return Problem(self.setting, self.reason, variable or self.variable or next(iter(variables(self.setting)), None))

    def __str__(self) -> str:
        return f"{self.variable or self.setting} {self.reason}"


def variables(setting: str) -> tuple[str, ...]:
    """The variables that give ``setting``, the strongest first."""
    if setting not in FlueSettings.model_fields:
        return ()
    return _VARIABLES.get(setting, (f"FLUE_{setting.upper()}",))


def _unknown_variables(names: Iterable[str]) -> list[str]:
    """Those of ``names`` that begin like a variable of ours and are none, each with the one that it resembles."""
    known = [variable for setting in FlueSettings.model_fields for variable in variables(setting)]
    # DATABASE_URL is missed most by those who give it the prefix that all others have.
    prefixed = {_PREFIX + variable.removeprefix(_PREFIX): variable for variable in known}
    unknown = []
    for name in sorted(names):
        if name.startswith(_PREFIX) and not name.startswith(_TESTS) and name not in known:
            meant = _completions(name, prefixed) or difflib.get_close_matches(name, prefixed, n=1, cutoff=_RESEMBLING)
            unknown.append(f"{name} (did you mean {prefixed[meant[0]]}?)" if meant else name)
    return unknown


def _completions(name: str, known: Iterable[str]) -> list[str]:
    """Names with all words of this one and more, the shortest first; one word alone could mean too many."""
    words = set(name.removeprefix(_PREFIX).split("_"))
    return sorted((other for other in known if len(words) > 1 and words < set(other.split("_"))), key=len)


def _report(problems: Iterable[Problem]) -> ConfigurationError:
    found = list(problems)
    lines = "; ".join(str(problem) for problem in found)
    names = [problem.variable or problem.setting for problem in found]
    return ConfigurationError(
        f"{'One setting is' if len(found) == 1 else f'{len(found)} settings are'} wrong: {lines}.",
        meta={
            "problems": [{"setting": problem.setting, "variable": problem.variable, "reason": problem.reason} for problem in found],
        },
        remedy=f"Correct {', '.join(dict.fromkeys(names))}.",
    )


def _problems_in(error: ConfigurationError) -> list[Problem]:
    return [Problem(entry["setting"], entry["reason"], entry["variable"]) for entry in error.meta["problems"]]


def _problems_of(error: ValidationError, values: Any) -> list[Problem]:
    problems = []
    for entry in error.errors(include_url=False, include_context=False, include_input=False):
        setting = {"schema": "schema_name"}.get(str(entry["loc"][0]), str(entry["loc"][0]))
        if entry["type"] == "extra_forbidden":
            problems.append(Problem(setting, "is not a setting"))
            continue
        reason = entry["msg"].removeprefix("Value error, ").partition(", unable to parse")[0]
        reason = reason[:1].lower() + reason[1:]
        reason = reason.replace("input should", "must").replace("string should", "must")
        problems.append(Problem(setting, reason + _shown(setting, values)))
    return problems


def _shown(setting: str, values: Any) -> str:
    value = str(values.get(setting, "")) if isinstance(values, dict) else ""
    # A URL in the wrong place may hold a password too.
    return "" if setting in _NEVER_SHOWN or "://" in value else f" (it is {value[:60]!r})"


def _problem_of(check: Any, setting: str, values: Mapping[str, Any]) -> list[Problem]:
    try:
        check(values[setting])
    except ValueError as error:
        return [Problem(setting, str(error))]
    return []


def _contradictions(values: Mapping[str, Any]) -> list[Problem]:
    """Settings that are fine by themselves and wrong together; only whether and how they are given counts."""

    def given(setting: str) -> bool:
        return values.get(setting) not in (None, "")

    problems = []
    if given("s3_access_key_id") != given("s3_secret_access_key"):
        missing = "s3_secret_access_key" if given("s3_access_key_id") else "s3_access_key_id"
        problems.append(Problem(missing, "is missing: key and secret go together"))
    if given("s3_session_token") and not (given("s3_access_key_id") or given("s3_secret_access_key")):
        problems.append(Problem("s3_session_token", "needs the key and the secret that it was issued with"))
    if given("s3_profile") and given("s3_access_key_id"):
        problems.append(Problem("s3_profile", "contradicts the access key that is also given"))
    if given("s3_prefix") and not given("s3_bucket"):
        problems.append(Problem("s3_prefix", "needs the bucket; or write both as one artifact URL"))
    if given("artifacts") and given("s3_bucket"):
        whole = f"s3://{values['s3_bucket']}"
        if given("s3_prefix"):
            whole += f"/{str(values['s3_prefix']).strip('/')}"
        if str(values["artifacts"]).rstrip("/") != whole:
            problems.append(Problem("s3_bucket", "contradicts the artifact URL that is also given"))
    if given("listen_url") and not str(values.get("database_url", "")).lower().startswith("postgres"):
        problems.append(Problem("listen_url", "is of use only with a PostgreSQL database"))
    return problems


def read_env_file(env_file: str | os.PathLike[str] | None) -> dict[str, str]:
    """The variables of a file of ``NAME=value`` lines; none without a file.

    Raises ConfigurationError for a file that cannot be read.
    """
    if env_file is None:
        return {}
    from dotenv import dotenv_values

    path = Path(env_file)
    try:
        # No interpolation: a password with a dollar sign is a password with a dollar sign.
        with path.open(encoding="utf-8") as stream:
            return {name: value for name, value in dotenv_values(stream=stream, interpolate=False).items() if value is not None}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(
            f"The env file {str(path)!r} cannot be read: {reason}.", meta={"path": str(path)}, remedy="Name an existing, readable file."
        ) from None


def _secrets_in(url: str) -> set[str]:
    """The passwords of a URL, decoded and as they are written in it."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return {url}
    found = {parsed.password or ""} | {str(value) for name, value in parsed.query.items() if _SECRET_PARAMETER.search(name)}
    return found | {quote_plus(secret) for secret in found} | {quote(secret) for secret in found}


def _masked(url: str) -> str:
    """The URL without its password, and nothing of what cannot be told from a password."""
    if "://" not in url:
        return url
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return f"{url.partition('://')[0]}://***"
    query = {name: "***" if _SECRET_PARAMETER.search(name) else value for name, value in parsed.query.items()}
    return parsed.set(query=query).render_as_string(hide_password=True)
