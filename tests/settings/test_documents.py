"""The example file and the documentation say what the settings are, no more and no less."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flue_sqla.settings import FlueSettings, variables
from tests.settings.tables import rows

ROOT = Path(__file__).parents[2]
ASSIGNMENT = re.compile(r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$")
EXAMPLES = [match.groups() for match in map(ASSIGNMENT.match, (ROOT / ".env.example").read_text().splitlines()) if match]
KNOWN = {variable: name for name in FlueSettings.model_fields for variable in variables(name)}


def test_the_example_file_names_every_variable_and_no_other() -> None:
    assert {variable for variable, _ in EXAMPLES} == set(KNOWN)


@pytest.mark.parametrize(("variable", "value"), EXAMPLES)
def test_every_example_is_accepted(variable: str, value: str) -> None:
    companions = {
        "FLUE_S3_ACCESS_KEY_ID": {"FLUE_S3_SECRET_ACCESS_KEY": "x"},
        "FLUE_S3_SECRET_ACCESS_KEY": {"FLUE_S3_ACCESS_KEY_ID": "x"},
        "FLUENT_S3_ACCESS_KEY_ID": {"FLUE_S3_SECRET_ACCESS_KEY": "x"},
        "FLUENT_S3_SECRET_ACCESS_KEY": {"FLUE_S3_ACCESS_KEY_ID": "x"},
        "FLUE_S3_SESSION_TOKEN": {"FLUE_S3_ACCESS_KEY_ID": "x", "FLUE_S3_SECRET_ACCESS_KEY": "x"},
        "FLUE_S3_PREFIX": {"FLUE_S3_BUCKET": "bucket"},
        "FLUE_LISTEN_URL": {"DATABASE_URL": "postgresql://pooler/flue"},
        "FLUE_VERSION_TABLE_SCHEMA": {"FLUE_VERSION_TABLE": "alembic_version"},
    }
    settings = FlueSettings.from_env(environ={variable: value, **companions.get(variable, {})})
    assert getattr(settings, KNOWN[variable]) is not None


def test_the_example_file_works_as_it_ships() -> None:
    assert FlueSettings.from_env(ROOT / ".env.example", environ={}) == FlueSettings()


def test_the_documentation_s_table_is_made_from_the_settings() -> None:
    documented = [line for line in (ROOT / "docs" / "settings.md").read_text().splitlines() if line.startswith("|")]
    assert documented == rows(), "python -m tests.settings.tables prints the table"
