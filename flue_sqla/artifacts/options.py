"""Where artifacts are kept and how to reach it: one value, checked before any network call."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from flue_sqla import setting_checks as checks
from flue_sqla.artifacts.keys import quote_component
from flue_sqla.artifacts.parts import MIB, PartPlan
from flue_sqla.errors import ConfigurationError
from flue_sqla.redaction import Redactor, secrets_of_url
from flue_sqla.settings import FlueSettings

__all__ = ["StoreOptions"]

Engine = Literal["s3fs", "obstore"]

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_SMALLEST_PART = 5 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """A store's URL and everything its engine needs.

    ``url`` is a folder (a path or ``file://``), ``memory://[name]``, ``s3://bucket[/prefix]`` or any other fsspec URL. Timeouts are in
    milliseconds and sizes in bytes. ``max_attempts`` counts all tries of one request. ``storage_options`` go to a generic fsspec
    filesystem as they are.
    """

    url: str
    engine: Engine = "s3fs"
    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    profile: str | None = None
    role_arn: str | None = None
    force_path_style: bool | None = None
    connect_timeout_ms: int = 5_000
    read_timeout_ms: int = 60_000
    max_attempts: int = 4
    part_size: int = 8 * MIB
    max_parts: int = 10_000
    concurrency: int = 4
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        # A URL may hold a password, also one that is refused because of it.
        shown = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in fields(self) if one.repr)
        return Redactor(secrets_of_url(self.url) | secrets_of_url(self.endpoint or "")).clean(f"{type(self).__name__}({shown})")

    @classmethod
    def from_settings(cls, settings: FlueSettings, url: str | None = None) -> Self:
        """The options that ``settings`` describe; ``url``, when given, wins over ``settings.artifacts``.

        Raises:
            ConfigurationError: with every problem found, in ``meta["problems"]``.
        """
        given: dict[str, Any] = {}
        for option, setting in _SETTINGS.items():
            value = getattr(settings, setting)
            given[option] = value.get_secret_value() if isinstance(value, SecretStr) else value
        if "s3_force_path_style" in settings.model_fields_set:
            given["force_path_style"] = settings.s3_force_path_style
        options = cls(url=settings.artifacts if url is None else url, **given)
        options.check()
        return options

    @property
    def scheme(self) -> str:
        """The URL's scheme in lower case; ``file`` for a plain path and for fsspec's other name of it."""
        found = _SCHEME.match(self.url)
        scheme = found.group(1).lower() if found else "file"
        return "file" if scheme == "local" else scheme

    @property
    def folder(self) -> Path:
        """The folder of a ``file`` URL or plain path."""
        found = _SCHEME.match(self.url)
        return Path(unquote(self.url[found.end() :]) if found else self.url)

    @property
    def bucket(self) -> str:
        """The bucket of an ``s3`` URL."""
        return urlsplit(self.url).netloc

    @property
    def prefix(self) -> str:
        """The prefix of an ``s3`` URL without slashes at its ends."""
        return urlsplit(self.url).path.strip("/")

    @property
    def plan(self) -> PartPlan:
        """How uploads are cut into parts."""
        return PartPlan(self.part_size, self.max_parts)

    @property
    def label(self) -> str:
        """A short name of the place, free of secrets and hosts, as rows note it after a transfer."""
        place = str(self.folder.absolute()) if self.scheme == "file" else self.url.rstrip("/")
        if self.scheme == "s3":
            place = f"s3://{self.bucket}/{self.prefix}".rstrip("/")
        return f"{quote_component(self.scheme)}-{hashlib.sha256(place.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"

    @property
    def path_style(self) -> bool:
        """Whether the bucket goes into the path: as set, else only with an endpoint of one's own."""
        return self.force_path_style if self.force_path_style is not None else self.endpoint is not None

    def check(self) -> None:
        """Refuse what cannot work, before any network call.

        Raises:
            ConfigurationError: with every problem found, in ``meta["problems"]``.
        """
        problems = self.problems()
        if problems:
            raise ConfigurationError(
                "The artifact store is not configured correctly: " + " ".join(problems),
                meta={"problems": problems},
                remedy="Correct FLUE_ARTIFACTS and the FLUE_S3_* settings named here.",
            )

    def problems(self) -> list[str]:
        """Every problem as one sentence, none with a secret in it."""
        found = []
        if not self.url:
            found.append("artifacts is empty.")
        if self.engine not in ("s3fs", "obstore"):
            found.append(f"artifact_engine is {self.engine!r}, neither 's3fs' nor 'obstore'.")
        if self.scheme == "s3":
            found.extend(self._s3_problems())
        for name in ("connect_timeout_ms", "read_timeout_ms", "max_attempts", "concurrency", "max_parts", "part_size"):
            if getattr(self, name) < 1:
                found.append(f"{name} is {getattr(self, name)}; it must be positive.")
        return found

    def _s3_problems(self) -> list[str]:
        if "@" in urlsplit(self.url).netloc:
            return ["artifacts contains credentials; use s3_access_key_id and s3_secret_access_key."]
        found = [
            *_complaints("s3_bucket", checks.bucket_name, self.bucket),
            *_complaints("s3_prefix", checks.key_prefix, urlsplit(self.url).path),
        ]
        if self.endpoint is not None:
            found.extend(_complaints("s3_endpoint", checks.endpoint, self.endpoint))
        if urlsplit(self.url).query or urlsplit(self.url).fragment:
            found.append("artifacts must not have a query or a fragment.")
        if self.part_size < _SMALLEST_PART:
            found.append(f"s3_part_size is {self.part_size}; S3 takes no part below 5 MiB.")
        if bool(self.access_key_id) != bool(self.secret_access_key):
            found.append("s3_access_key_id and s3_secret_access_key go together; one of them is missing.")
        return found


_SETTINGS = {
    "engine": "artifact_engine",
    "endpoint": "s3_endpoint",
    "region": "s3_region",
    "access_key_id": "s3_access_key_id",
    "secret_access_key": "s3_secret_access_key",
    "session_token": "s3_session_token",
    "profile": "s3_profile",
    "role_arn": "s3_role_arn",
    "connect_timeout_ms": "s3_connect_timeout_ms",
    "read_timeout_ms": "s3_read_timeout_ms",
    "max_attempts": "s3_max_attempts",
    "part_size": "s3_part_size",
    "concurrency": "s3_concurrency",
}
"""Our fields and the settings that fill them: the one place where the two meet."""


def _complaints(setting: str, check: Callable[[str], object], value: str) -> list[str]:
    try:
        check(value)
    except ValueError as error:
        return [f"{setting} {error}."]
    return []
