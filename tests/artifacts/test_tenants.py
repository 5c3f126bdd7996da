"""Tenants that a database could take for one another."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
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


def test_a_blank_at_the_end_makes_another_run_or_none(migrated: Database, tmp_path: Path) -> None:
    with Flue(migrated.url, artifacts=str(tmp_path / "artifacts")) as flue:
        for name in ("run_id", "submission_id"):
            own = flue.artifacts.put(b"x", name="x", **{name: "one"})  # type: ignore[arg-type]
            if migrated.name == "mariadb":
                with pytest.raises(InvalidInputError, match=f"{name} ends with a blank"):
                    flue.artifacts.put(b"x", name="x", **{name: "one "})  # type: ignore[arg-type]
                with pytest.raises(InvalidInputError, match=f"{name} ends with a blank"):
                    flue.artifacts.list(**{name: "one "})  # type: ignore[arg-type]
            else:
                assert flue.artifacts.list(**{name: "one "}).artifacts == []  # type: ignore[arg-type]
            assert flue.artifacts.list(**{name: "one"}).artifacts == [own]  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["a\0b", "a\ud800"], ids=["NUL", "surrogate"])
def test_what_no_row_can_hold_is_refused_before_the_driver_sees_it(migrated: Database, tmp_path: Path, text: str) -> None:
    """An application passes on what stood in a URL."""
    with Flue(migrated.url, artifacts=str(tmp_path / "artifacts")) as flue:
        forged = base64.urlsafe_b64encode(json.dumps([1, text]).encode()).decode()
        calls: list[Callable[[], object]] = [
            lambda: flue.artifacts.get(text),
            lambda: flue.artifacts.get("art_none", tenant=text),
            lambda: flue.artifacts.open(text),
            lambda: flue.artifacts.delete(text),
            lambda: flue.artifacts.list(tenant=text),
            lambda: flue.artifacts.list(run_id=text),
            lambda: flue.artifacts.list(submission_id=text),
            lambda: flue.artifacts.list(cursor=forged),
            lambda: flue.artifacts.verify(tenant=text),
        ]
        for call in calls:
            with pytest.raises(InvalidInputError):
                call()


@pytest.mark.parametrize("place", [[2**63, "x"], [True, "x"], [1, 2], [1], 1, "[" * 100_000], ids=lambda place: str(place)[:9])
def test_a_forged_cursor_is_refused(migrated: Database, place: object) -> None:
    text = place if isinstance(place, str) else json.dumps(place)
    with Flue(migrated.url) as flue, pytest.raises(InvalidInputError, match="not a cursor of an artifact listing"):
        flue.artifacts.list(cursor=base64.urlsafe_b64encode(text.encode()).decode())
