from __future__ import annotations

from pathlib import Path

import pytest

from tests.databases.contract import Database
from tests.host_app.projects import Project, copy


@pytest.fixture
def project(database: Database, tmp_path: Path) -> Project:
    """The host project, on the test's empty database."""
    return copy(tmp_path / "shop", database.url)
