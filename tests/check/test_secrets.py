"""Whatever fails, and however a driver words it: no secret is in anything that a check prints."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from flue_sqla.checks import run_checks
from flue_sqla.cli.main import run
from flue_sqla.errors import DatabaseUnavailableError
from flue_sqla.redaction import Redactor, secrets_of_environment
from flue_sqla.settings import FlueSettings
from tests.databases.processes import free_port

# Long enough not to occur by chance in what is printed anyway, and with everything that URLs and shells trip over.
SECRETS = st.text(st.sampled_from("aZ9 @:/?#%&=+'\"\\[]{}<>|~^`ßé😀\t"), min_size=3, max_size=12).map(lambda text: f"S3cr{text}Et")
EXAMPLES = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

Environment = Callable[[str, Path], dict[str, str]]


def no_database(secret: str, folder: Path) -> dict[str, str]:
    return {"DATABASE_URL": f"postgresql+psycopg://user:{quote(secret, safe='')}@127.0.0.1:{free_port()}/x"}


def no_mysql(secret: str, folder: Path) -> dict[str, str]:
    return {"DATABASE_URL": f"mysql+pymysql://user:{quote(secret, safe='')}@127.0.0.1:{free_port()}/x"}


def no_host(secret: str, folder: Path) -> dict[str, str]:
    return {"DATABASE_URL": f"postgresql+psycopg://user:{quote(secret, safe='')}@no-such-host.invalid/x"}


def broken_url(secret: str, folder: Path) -> dict[str, str]:
    return {"DATABASE_URL": f"postgresql://user:{secret}@[host:port:what/x"}


def unencoded_url(secret: str, folder: Path) -> dict[str, str]:
    return {"DATABASE_URL": f"postgresql+psycopg://user:{secret}@127.0.0.1:1/x"}


def option_in_url(secret: str, folder: Path) -> dict[str, str]:
    return {"DATABASE_URL": f"postgresql+psycopg://user@127.0.0.1:1/x?password={quote(secret, safe='')}&bad=1"}


def no_store(secret: str, folder: Path) -> dict[str, str]:
    keys = {"FLUE_S3_ACCESS_KEY_ID": "AKIA" + secret, "FLUE_S3_SECRET_ACCESS_KEY": secret, "FLUE_S3_SESSION_TOKEN": secret[::-1]}
    return {**keys, "FLUE_ARTIFACTS": "s3://bucket/prefix", "FLUE_S3_ENDPOINT": f"http://127.0.0.1:{free_port()}", "FLUE_S3_REGION": "x-1"}


def half_a_key(secret: str, folder: Path) -> dict[str, str]:
    return {"FLUE_S3_SECRET_ACCESS_KEY": secret, "FLUE_ARTIFACTS": "s3://bucket/prefix", "FLUE_S3_FORCE_PATH_STYLE": "maybe"}


def keys_in_the_artifact_url(secret: str, folder: Path) -> dict[str, str]:
    return {"FLUE_ARTIFACTS": f"s3://AKIA:{quote(secret, safe='')}@bucket/prefix"}


def secret_in_the_endpoint(secret: str, folder: Path) -> dict[str, str]:
    return {"FLUE_ARTIFACTS": "s3://bucket", "FLUE_S3_ENDPOINT": f"http://user:{quote(secret, safe='')}@127.0.0.1:9"}


def folder_in_the_way(secret: str, folder: Path) -> dict[str, str]:
    (folder / "file").touch()
    return {"FLUE_ARTIFACTS": str(folder / "file" / "store"), "FLUE_S3_SECRET_ACCESS_KEY": secret, "FLUE_S3_ACCESS_KEY_ID": secret}


FAILURES: list[Environment] = [
    no_database,
    no_mysql,
    no_host,
    broken_url,
    unencoded_url,
    option_in_url,
    no_store,
    half_a_key,
    keys_in_the_artifact_url,
    secret_in_the_endpoint,
    folder_in_the_way,
]


def spellings(secret: str) -> set[str]:
    return {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1], secret[::-1]}


@pytest.mark.parametrize("environment", FAILURES)
@pytest.mark.parametrize("form", [[], ["--json"], ["--debug"]])
@EXAMPLES
@given(secret=SECRETS)
def test_no_output_holds_a_secret(
    environment: Environment, form: list[str], secret: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assume("\0" not in secret)
    defaults = {"DATABASE_URL": f"sqlite:///{tmp_path / 'flue.db'}", "FLUE_ARTIFACTS": str(tmp_path / "store")}
    fast = {"FLUE_S3_MAX_ATTEMPTS": "1", "FLUE_S3_CONNECT_TIMEOUT_MS": "500"}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {**defaults, **fast, **environment(secret, tmp_path)}.items():
            patched.setenv(name, value)
        code = run(["check", *form])
    printed = capsys.readouterr()
    assert code in (2, 3, 4, 5), printed
    for spelling in spellings(secret):
        assert spelling not in printed.out + printed.err


@EXAMPLES
@given(secret=SECRETS)
def test_a_driver_that_repeats_its_password_is_not_repeated(secret: str, tmp_path: Path) -> None:
    """Whatever a step raises, with the secret in any spelling."""
    url = f"postgresql+psycopg://user:{quote(secret, safe='')}@127.0.0.1:1/x"
    with pytest.MonkeyPatch.context() as patched:
        for raised in (RuntimeError, DatabaseUnavailableError):

            def fail(self: object, raised: type[Exception] = raised) -> str:
                raise raised(" and ".join(sorted(spellings(secret) - {secret[::-1]})))

            patched.setattr("flue_sqla.checks.database.DatabaseChecks._connect", fail)
            patched.setattr("flue_sqla.checks.store.StoreChecks._write", lambda self, store: fail(self))
            report = run_checks(FlueSettings(database_url=url, artifacts=str(tmp_path / "store")))
            document = json.dumps(report.to_wire(), ensure_ascii=False)
            assert [step.name for step in report.steps if step.status.value == "failed"] == ["database", "store_write"]
            assert secret not in document
            assert quote(secret, safe="") not in document
            assert "***" in document


def test_what_counts_as_secret_in_an_environment() -> None:
    environment = {
        "DATABASE_URL": "mysql+pymysql://u:one@h/x?ssl_key=six",
        "FLUE_S3_SECRET_ACCESS_KEY": "two",
        "FLUENT_S3_ACCESS_KEY_ID": "three",
        "AWS_SESSION_TOKEN": "four",
        "FLUENT_POSTGRES_URL": "postgresql://u:fi@ve@h/x",
        "HOME": "/root",
        "FLUE_MIGRATE": "auto",
    }
    assert secrets_of_environment(environment) == {"one", "six", "two", "three", "four", "fi@ve"}


# A secret of one to three letters is in half of all words, and a text without those letters tells nobody anything. So it is hidden by its
# place, where a driver, a server or a library repeats a URL, a connection string or its arguments, and nowhere else.
PLACES = [
    "postgresql://user:{}@host/x",
    "could not connect to mysql+pymysql://:{}@127.0.0.1:1/x (refused)",
    "/x?sslmode=require&password={}&a=b",
    "host=h password={} user=u",
    "host=h password='{}' user=u",
    "connect(password='{}', db='x')",
    '{{"secretAccessKey": "{}", "region": "x"}}',
    "FLUE_S3_SESSION_TOKEN={}",
    "Pwd: {}",
]


@pytest.mark.parametrize("place", PLACES)
@given(secret=st.text(st.sampled_from("aeZ9@:/?#%&=+'\"\\[]{}ß😀"), min_size=1, max_size=3))
@example(secret='+"')
def test_a_very_short_secret_is_hidden_where_a_secret_stands(place: str, secret: str) -> None:
    for spelling in (secret, quote(secret, safe=""), quote_plus(secret)):
        assert Redactor([secret]).clean(place.format(spelling)) == place.format("***")


@pytest.mark.parametrize("secret", ["e", "st", "the", "1"])
def test_a_very_short_password_leaves_the_words_around_it_alone(
    secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def printed(password: str, *arguments: str) -> str:
        monkeypatch.setenv("DATABASE_URL", f"postgresql+psycopg://somebody:{password}@127.0.0.1:1/x")
        monkeypatch.setenv("FLUE_ARTIFACTS", str(tmp_path / "store"))
        run([*arguments])
        told = capsys.readouterr()
        # Times differ, and with them the widths of the table.
        return re.sub(r"[\d\s━─]+", " ", told.out + told.err)

    assert printed(secret, "check") == printed("a-longer-password", "check")
    assert printed(secret, "current") == printed("a-longer-password", "current")
    assert f":{secret}@" not in printed(secret, "current", "--debug")


def test_a_secret_inside_another_is_removed_with_it() -> None:
    assert Redactor(["word", "password"]).clean("the password, a word") == "the ***, a ***"
