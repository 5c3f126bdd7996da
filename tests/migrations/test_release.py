"""The constants of this release against its scripts, and the rules that every revision keeps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from flue_sqla.models import Base, metadata_for
from flue_sqla.schema import release
from flue_sqla.schema.scripts import script_location, version_location

SCRIPT = ScriptDirectory(str(script_location()))
REVISIONS = list(SCRIPT.walk_revisions())[::-1]


def test_the_known_revisions_are_the_scripts() -> None:
    assert tuple(found.revision for found in REVISIONS) == release.REVISIONS
    assert SCRIPT.get_heads() == [release.HEAD]


def test_the_branch_label_is_on_the_first_revision() -> None:
    assert REVISIONS[0].branch_labels == {release.BRANCH}


@pytest.mark.parametrize("found", REVISIONS, ids=lambda found: found.revision)
def test_every_revision_keeps_the_rules(found: object) -> None:
    module = found.module  # type: ignore[attr-defined]
    text = Path(module.__file__).read_text()
    assert found.revision.startswith(release.REVISION_PREFIX)  # type: ignore[attr-defined]
    assert len(found.revision) <= 32  # type: ignore[attr-defined]
    assert module.min_revision in release.REVISIONS
    assert "declare_floor(min_revision)" in text
    assert "autocommit_block" not in text
    assert not re.search(r"concurrently", text, re.IGNORECASE)
    assert "flue_sqla.models" not in text, "a revision is frozen and does not import what moves on"
    assert "batch_alter_table" not in text
    assert "flue_meta" not in text, "the guard alone creates and drops flue_meta"


def test_what_a_flue_server_creates_is_named_right() -> None:
    for dialect, profile in (("postgresql", "postgres"), ("mysql", "mysql"), ("sqlite", "sqlite")):
        assert release.FLUE_TABLES[profile] < set(metadata_for(dialect).tables)
    assert {"flue_meta", "flue_artifacts"} <= set(Base.metadata.tables)


def test_the_scripts_are_found() -> None:
    assert (script_location() / "env.py").is_file()
    assert list(version_location().glob("flue_0001*.py"))
