"""Tenants that a database could take for one another."""

from __future__ import annotations

from pathlib import Path

import pytest

from flue_sqla import Flue, snapshot
from flue_sqla.errors import ArtifactMissingError, InvalidInputError
from tests.databases.contract import Database


def test_a_blank_at_the_end_makes_another_tenant_or_none(migrated: Database, tmp_path: Path) -> None:
    """MariaDB compares texts as if they were padded with blanks."""
    with Flue(migrated.url, artifacts=str(tmp_path / "artifacts")) as flue:
        secret = flue.artifacts.put(b"secret", name="secret", tenant="acme")
        refused = (InvalidInputError, ArtifactMissingError)
        if migrated.name == "mariadb":
            for call in (flue.artifacts.get, flue.artifacts.delete):
                with pytest.raises(InvalidInputError, match="blank"):
                    call(secret.id, tenant="acme ")
            with pytest.raises(InvalidInputError, match="blank"):
                flue.artifacts.list(tenant="acme ")
            with pytest.raises(InvalidInputError, match="blank"):
                flue.artifacts.put(b"x", name="x", tenant="acme ")
            with pytest.raises(InvalidInputError, match="blank"):
                snapshot.export(flue, tmp_path / "tenant.snap", tenant="acme ")
        else:
            own = flue.artifacts.put(b"own", name="own", tenant="acme ")
            assert flue.artifacts.list(tenant="acme ").artifacts == [own]
            assert flue.artifacts.get(secret.id, tenant="acme ") is None
            assert flue.artifacts.delete(secret.id, tenant="acme ") is False
        with pytest.raises(refused):
            flue.artifacts.read_range(secret.id, 0, tenant="acme ")
        assert flue.artifacts.list(tenant="acme").artifacts == [secret]
        assert [path.name for path in (tmp_path / "artifacts" / "acme").iterdir()] == [secret.id]
