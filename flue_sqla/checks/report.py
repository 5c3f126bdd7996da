"""What a check found, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

__all__ = ["Area", "CheckReport", "Status", "Step"]


class Status(Enum):
    """How a step ended."""

    OK = "ok"
    WARNING = "warning"
    """It works, but somebody should know."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """It could not be tried, because an earlier one failed or there is nothing to try."""


class Area(Enum):
    """What a step is about; the value is the exit code of a check whose first failure is there (``docs/check.md``)."""

    CONFIGURATION = 2
    DATABASE = 3
    SCHEMA = 4
    STORE = 5


@dataclass(frozen=True)
class Step:
    """One step: ``code`` is the code of the error that it failed with, ``detail`` what was found, ``duration_ms`` how long it took."""

    name: str
    area: Area
    status: Status
    duration_ms: int = 0
    detail: str = ""
    remedy: str = ""
    code: str | None = None

    def to_wire(self) -> dict[str, Any]:
        """A JSON object with stable keys."""
        return {
            "name": self.name,
            "area": self.area.name.lower(),
            "status": self.status.value,
            "durationMs": self.duration_ms,
            "detail": self.detail,
            "remedy": self.remedy,
            "code": self.code,
        }


@dataclass
class CheckReport:
    """All steps, and what the installation is. What could not be found out is None."""

    storage_backend: str | None = None
    database: str | None = None
    artifacts: str | None = None
    schema_revision: str | None = None
    supported_revision: str | None = None
    format_version: str | None = None
    verdict: str | None = None
    features: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no step failed."""
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0, or the number of the first area in which something failed: 2 configuration, 3 database, 4 schema, 5 object store."""
        failed = [step.area.value for step in self.steps if step.status is Status.FAILED]
        return min(failed, default=0)

    def to_wire(self) -> dict[str, Any]:
        """A JSON object with stable keys."""
        return {
            "ok": self.ok,
            "exitCode": self.exit_code,
            "storageBackend": self.storage_backend,
            "database": self.database,
            "artifacts": self.artifacts,
            "verdict": self.verdict,
            "schemaRevision": self.schema_revision,
            "supportedRevision": self.supported_revision,
            "formatVersion": self.format_version,
            "features": list(self.features),
            "steps": [step.to_wire() for step in self.steps],
        }
