"""Settings by keyword and by variable: what is accepted, what is refused, and that no secret gets out."""

from __future__ import annotations

import pickle
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_sqla.errors import ConfigurationError
from flue_sqla.settings import FlueSettings, variables

SECRET = "hunter2-never-printed"
SECRET_SETTINGS = {
    "database_url": f"postgresql://user:{SECRET}@db.example/flue",
    "listen_url": f"postgresql://user:{SECRET}@db.example/flue",
    "s3_access_key_id": SECRET,
    "s3_secret_access_key": SECRET,
    "s3_session_token": SECRET,
}


def refused(**settings: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        FlueSettings(**settings)
    return caught.value


def test_defaults_need_no_arguments() -> None:
    settings = FlueSettings()
    assert (settings.url, settings.artifacts, settings.migrate) == ("sqlite:///flue.db", "flue-artifacts", "auto")


def test_one_setting_by_its_name_is_enough() -> None:
    assert FlueSettings(migrate="verify").migrate == "verify"


def test_schema_is_accepted_under_the_name_that_flue_uses() -> None:
    assert FlueSettings(**{"schema": "agents"}).schema_name == FlueSettings(schema_name="agents").schema_name == "agents"


def test_constructing_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/x")
    monkeypatch.setenv("FLUE_MIGRATE", "nonsense")
    monkeypatch.setenv("MIGRATE", "nonsense")
    assert FlueSettings() == FlueSettings(database_url="sqlite:///flue.db", migrate="auto")


def test_from_env_reads_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:///other.db")
    monkeypatch.setenv("FLUE_SCHEMA", "agents")
    settings = FlueSettings.from_env()
    assert (settings.url, settings.schema_name) == ("sqlite:///other.db", "agents")


def test_the_environment_wins_over_the_file_and_arguments_over_both(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("FLUE_MIGRATE=off\nFLUE_SCHEMA=file\nFLUE_POLL_INTERVAL_MS=5\n")
    settings = FlueSettings.from_env(env_file, environ={"FLUE_SCHEMA": "process", "FLUE_POLL_INTERVAL_MS": "7"}, poll_interval_ms=9)
    assert (settings.migrate, settings.schema_name, settings.poll_interval_ms) == ("off", "process", 9)


def test_an_empty_variable_is_unset() -> None:
    assert FlueSettings.from_env(environ={"FLUE_MIGRATE": "", "DATABASE_URL": " "}) == FlueSettings()


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("FLUE_MIGRAT", "FLUE_MIGRAT (did you mean FLUE_MIGRATE?)"),
        ("FLUE_DATABASE_URL", "FLUE_DATABASE_URL (did you mean DATABASE_URL?)"),
        ("FLUE_DB_URL", "FLUE_DB_URL (did you mean DATABASE_URL?)"),
        ("FLUE_SCHEMA_NAME", "FLUE_SCHEMA_NAME (did you mean FLUE_SCHEMA?)"),
        ("FLUE_ARTIFACTS_URL", "FLUE_ARTIFACTS_URL (did you mean FLUE_ARTIFACTS?)"),
        ("FLUE_S3_SECRET", "FLUE_S3_SECRET (did you mean FLUE_S3_SECRET_ACCESS_KEY?)"),
        ("FLUE_S3_KEY", "FLUE_S3_KEY (did you mean FLUE_S3_ACCESS_KEY_ID?)"),
        ("FLUE_S3_SECRET_KEY", "FLUE_S3_SECRET_KEY (did you mean FLUE_S3_SECRET_ACCESS_KEY?)"),
        ("FLUE_COLOUR", ": FLUE_COLOUR."),
    ],
)
def test_a_variable_that_is_no_setting_is_warned_of_without_its_value(
    variable: str, said: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    env_file = tmp_path / "env"
    env_file.write_text(f"{variable}={SECRET}\n")
    assert FlueSettings.from_env(environ={variable: SECRET}) == FlueSettings.from_env(env_file, environ={}) == FlueSettings()
    assert [(record.name, record.levelname) for record in caplog.records] == [("flue_sqla", "WARNING")] * 2
    assert all(said in message for message in caplog.messages)
    assert SECRET not in caplog.text


def test_known_foreign_and_empty_variables_are_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    known = {variable: "" for name in FlueSettings.model_fields for variable in variables(name)}
    FlueSettings.from_env(environ={**known, "FLUE_SCHEMA": "x", "FLUENT_PORT": "80", "FLUE_TEST_DATABASES": "x", "FLUE_EMPTY": " "})
    assert caplog.messages == []


def test_a_password_with_a_dollar_sign_is_taken_literally(tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text("FLUE_S3_ACCESS_KEY_ID=id\nFLUE_S3_SECRET_ACCESS_KEY=a${HOME}b\n")
    secret = FlueSettings.from_env(env_file, environ={}).s3_secret_access_key
    assert secret is not None
    assert secret.get_secret_value() == "a${HOME}b"


def test_an_env_file_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        FlueSettings.from_env(tmp_path / "nowhere")


def test_an_env_file_of_the_server_that_we_replace_works_unchanged() -> None:
    settings = FlueSettings.from_env(
        environ={
            "FLUENT_POSTGRES_URL": "postgres://u:p@h:1/d?sslmode=require",
            "FLUENT_S3_ENDPOINT": "https://s3.example:9000/",
            "FLUENT_S3_REGION": "eu-west-1",
            "FLUENT_S3_BUCKET": "bucket",
            "FLUENT_S3_ACCESS_KEY_ID": "id",
            "FLUENT_S3_SECRET_ACCESS_KEY": "secret",
            "FLUENT_S3_FORCE_PATH_STYLE": "1",
        }
    )
    assert settings.url == "postgresql+psycopg://u:p@h:1/d?sslmode=require"
    assert (settings.s3_endpoint, settings.s3_region, settings.artifacts) == ("https://s3.example:9000", "eu-west-1", "s3://bucket")
    assert settings.s3_force_path_style is True


def test_our_own_variable_wins_over_the_alias() -> None:
    environ = {"DATABASE_URL": "sqlite:///ours.db", "FLUENT_POSTGRES_URL": "postgresql://theirs/x"}
    assert FlueSettings.from_env(environ=environ).url == "sqlite:///ours.db"


@pytest.mark.parametrize(
    ("given_url", "kept"),
    [
        ("postgres://h/d", "postgresql+psycopg://h/d"),
        ("postgresql://h/d", "postgresql+psycopg://h/d"),
        ("postgresql+asyncpg://h/d", "postgresql+asyncpg://h/d"),
        ("mysql+asyncmy://h/d", "mysql+asyncmy://h/d"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
    ],
)
def test_a_bare_postgresql_scheme_means_psycopg_3(given_url: str, kept: str) -> None:
    assert FlueSettings(database_url=given_url).url == kept


def test_bucket_and_prefix_are_another_way_of_writing_the_artifact_url() -> None:
    assert FlueSettings(s3_bucket="bucket", s3_prefix="/a/b/").artifacts == "s3://bucket/a/b"
    assert FlueSettings(s3_bucket="bucket", artifacts="s3://bucket/").artifacts == "s3://bucket/"


@pytest.mark.parametrize("written", ["true", "TRUE", "1", "yes", "on", True])
def test_booleans_that_are_true(written: Any) -> None:
    assert FlueSettings(s3_force_path_style=written).s3_force_path_style is True


@pytest.mark.parametrize("written", ["false", "0", "No", "off", False])
def test_booleans_that_are_false(written: Any) -> None:
    assert FlueSettings(notify=written).notify is False


@pytest.mark.parametrize("variable", ["FLUE_S3_FORCE_PATH_STYLE", "FLUENT_S3_FORCE_PATH_STYLE", "FLUE_NOTIFY"])
def test_maybe_is_refused_naming_the_variable(variable: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{variable} must be true or false \(it is 'maybe'\)"):
        FlueSettings.from_env(environ={variable: "maybe"})


def test_all_problems_come_in_one_report_by_variable_name() -> None:
    environ = {
        "DATABASE_URL": "oracle://h/d",
        "FLUE_MIGRATE": "sometimes",
        "FLUENT_S3_BUCKET": "No_Bucket",
        "FLUE_S3_ENDPOINT": "ftp://h",
        "FLUE_S3_PART_SIZE": "12k",
        "FLUE_S3_ACCESS_KEY_ID": "id",
        "FLUENT_S3_FORCE_PATH_STYLE": "maybe",
    }
    with pytest.raises(ConfigurationError) as caught:
        FlueSettings.from_env(environ=environ)
    reported = {problem["variable"] for problem in caught.value.meta["problems"]}
    assert reported == {*environ, "FLUE_S3_SECRET_ACCESS_KEY"} - {"FLUE_S3_ACCESS_KEY_ID"}
    assert all(variable in str(caught.value) for variable in reported)
    for sentence in (
        "DATABASE_URL is refused: the database 'oracle' is not supported",
        "FLUE_S3_PART_SIZE must be a valid integer (it is '12k')",
    ):
        assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("database_url", "no url at all"),
        ("database_url", "postgresql://h:port/d"),
        ("database_url", "https://h/d"),
        ("listen_url", "sqlite:///x.db"),
        ("artifacts", ""),
        ("artifacts", "s3://"),
        ("artifacts", "s3://Bucket/x"),
        ("artifacts", "s3://bucket/a//b"),
        ("artifacts", "s3://bucket/../x"),
        ("artifacts", "https://host/folder"),
        ("artifacts", "s4://bucket"),
        ("s3_bucket", "ab"),
        ("s3_bucket", "a" * 64),
        ("s3_bucket", "-abc"),
        ("s3_bucket", "a..b"),
        ("s3_bucket", "192.168.0.1"),
        ("s3_bucket", "Üml"),
        ("s3_endpoint", "host:9000"),
        ("s3_endpoint", "http://"),
        ("s3_endpoint", "http://host:99999"),
        ("s3_endpoint", "http://u:p@host"),
        ("s3_endpoint", "http://host/bucket"),
        ("s3_endpoint", "http://a host"),
        ("s3_region", "Frankfurt am Main"),
        ("s3_role_arn", "admin"),
        ("s3_part_size", 1024),
        ("s3_concurrency", 0),
        ("s3_connect_timeout_ms", -1),
        ("lock_timeout_ms", 0),
        ("offload_attachments_above", -1),
        ("artifact_engine", "boto3"),
        ("migrate", "AUTO"),
        ("schema_name", ""),
        ("schema_name", "x" * 64),
        ("no_such_setting", 1),
    ],
)
def test_a_bad_value_is_refused_by_the_setting_s_name(setting: str, value: Any) -> None:
    error = refused(**{setting: value})
    assert setting in [problem["setting"] for problem in error.meta["problems"]]
    assert error.code == "configuration_invalid"
    assert error.remedy


@pytest.mark.parametrize(
    "settings",
    [
        {"s3_access_key_id": "id"},
        {"s3_secret_access_key": "secret"},
        {"s3_session_token": "token"},
        {"s3_profile": "p", "s3_access_key_id": "id", "s3_secret_access_key": "secret"},
        {"artifacts": "s3://one", "s3_bucket": "other"},
        {"s3_prefix": "p"},
        {"listen_url": "postgresql://h/d"},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any]) -> None:
    assert refused(**settings).meta["problems"]


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(Exception, match="frozen"):
        FlueSettings().migrate = "off"  # type: ignore[misc]


def test_no_secret_in_repr_or_str() -> None:
    settings = FlueSettings(**SECRET_SETTINGS, artifacts=f"ftp://user:{SECRET}@host/x")  # type: ignore[arg-type]
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)
    assert SECRET not in repr(FlueSettings(database_url=f"postgresql://h/d?password={SECRET}"))
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_secrets_are_known_in_every_spelling() -> None:
    settings = FlueSettings(database_url="postgresql://u:p%40ss@h/d?sslpassword=other", s3_access_key_id="i", s3_secret_access_key="s3cret")  # type: ignore[arg-type]
    assert {"p@ss", "p%40ss", "other", "s3cret"} <= settings.secrets()
    assert FlueSettings().secrets() == frozenset()


@given(
    broken=st.sets(st.sampled_from(sorted(SECRET_SETTINGS)), min_size=1),
    damage=st.sampled_from(["://{}", "http://u:{}@x:port", "{}", "postgresql://u:{}@h:x/d", "oracle://u:{}@h/d", "mysql://u:{}@h/d"]),
    other=st.sampled_from([{}, {"migrate": "x"}, {"s3_region": "A B"}, {"s3_profile": "p"}]),
    by_variable=st.booleans(),
)
def test_no_secret_in_any_refusal(broken: set[str], damage: str, other: dict[str, Any], by_variable: bool) -> None:
    settings = {**SECRET_SETTINGS, **{name: damage.format(SECRET) for name in broken}, **other}
    shown = ""
    try:
        made = FlueSettings.from_env(environ=_environ(settings)) if by_variable else FlueSettings(**settings)
        shown = repr(made)
    except ConfigurationError as error:
        # What a logged traceback would show.
        shown = "".join(traceback.format_exception(error)) + f"{error.meta}{error.remedy}{error!r}"
    assert SECRET not in shown


def _environ(settings: dict[str, Any]) -> dict[str, str]:
    return {variables(name)[0]: str(value) for name, value in settings.items()}
