"""Options and keys: everything wrong is said at once, before any network call, and without a secret."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_sqla import FlueSettings
from flue_sqla.artifacts import StoreOptions, Stores
from flue_sqla.artifacts.factory import blocking_store
from flue_sqla.artifacts.keys import check_key, quote_component, storage_key
from flue_sqla.errors import ConfigurationError, InvalidInputError

SECRET = "do-not-print-me"


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({"url": ""}, 1),
        ({"url": "s3://UPPER"}, 1),
        ({"url": "s3://ab"}, 1),
        ({"url": "s3://a..b"}, 1),
        ({"url": "s3://192.168.0.1"}, 1),
        ({"url": "s3://bucket/a/../b"}, 1),
        ({"url": "s3://bucket?x=y"}, 1),
        ({"url": f"s3://key:{SECRET}@bucket/x"}, 1),
        ({"url": "s3://bucket", "endpoint": "ftp://host"}, 1),
        ({"url": "s3://bucket", "endpoint": f"http://key:{SECRET}@host"}, 1),
        ({"url": "s3://bucket", "endpoint": "host:9000"}, 1),
        ({"url": "s3://bucket", "part_size": 1024}, 1),
        ({"url": "s3://bucket", "secret_access_key": SECRET}, 1),
        ({"url": "s3://bucket", "engine": "boto3"}, 1),
        ({"url": "s3://bucket", "concurrency": 0}, 1),
        ({"url": "s3://X", "endpoint": "nonsense", "part_size": 1, "access_key_id": "k", "engine": "x", "max_attempts": 0}, 6),
    ],
    ids=str,
)
def test_all_problems_are_reported_together(given: dict[str, Any], problems: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        blocking_store(StoreOptions(**given))
    assert len(caught.value.meta["problems"]) == problems
    assert caught.value.remedy
    assert SECRET not in f"{caught.value} {caught.value.meta} {StoreOptions(**{**given, 'url': 'x', 'endpoint': None})!r}"


def test_an_unknown_scheme_says_what_to_install() -> None:
    with pytest.raises(ConfigurationError) as caught:
        blocking_store(StoreOptions(url="nosuch://x"))
    assert "nosuch://" in caught.value.message


def test_settings_become_options() -> None:
    settings = FlueSettings(
        s3_bucket="bucket",
        s3_prefix="a/b",
        artifact_engine="obstore",
        s3_endpoint="http://127.0.0.1:9000",
        s3_region="eu-west-1",
        s3_access_key_id="key",
        s3_secret_access_key=SECRET,
        s3_session_token="token",
        s3_connect_timeout_ms=11,
        s3_read_timeout_ms=12,
        s3_max_attempts=2,
        s3_part_size=6 * 2**20,
        s3_concurrency=3,
    )
    options = StoreOptions.from_settings(settings)
    assert (options.bucket, options.prefix, options.engine, options.region) == ("bucket", "a/b", "obstore", "eu-west-1")
    assert (options.access_key_id, options.secret_access_key, options.session_token) == ("key", SECRET, "token")
    assert (options.connect_timeout_ms, options.read_timeout_ms, options.max_attempts) == (11, 12, 2)
    assert (options.part_size, options.concurrency) == (6 * 2**20, 3)
    assert options.path_style is True, "an endpoint of one's own needs no second setting"
    assert StoreOptions.from_settings(settings.model_copy(update={"s3_endpoint": None})).path_style is False
    forced = FlueSettings(artifacts="s3://bucket", s3_endpoint="http://host", s3_force_path_style=False)
    assert StoreOptions.from_settings(forced).path_style is False
    assert StoreOptions.from_settings(settings, "memory://x").scheme == "memory"
    assert SECRET not in repr(options)


def test_a_folder_may_be_written_in_four_ways(tmp_path: Any) -> None:
    for url in (str(tmp_path / "a b"), (tmp_path / "a b").as_uri(), f"file://{tmp_path}/a b", f"local://{tmp_path}/a b"):
        options = StoreOptions(url=url)
        assert (options.folder, options.scheme) == (tmp_path / "a b", "file")
        assert options.label == StoreOptions(url=str(tmp_path / "a b")).label
    assert StoreOptions(url="relative").scheme == "file"


def test_a_label_names_the_place_and_nothing_else() -> None:
    label = StoreOptions(url="s3://bucket/x", endpoint="http://a").label
    assert label == StoreOptions(url="s3://bucket/x", endpoint="http://b", access_key_id="k", secret_access_key=SECRET).label
    assert label != StoreOptions(url="s3://bucket/y").label
    assert label.startswith("s3-")
    assert len(label) < 64
    assert "bucket" not in label


@pytest.mark.parametrize(
    ("one", "other"),
    [("s3://bucket", "s3://bucket/"), ("s3://bucket/x", "s3://bucket/x/"), ("gs://bucket/x", "gs://bucket/x/"), ("/x", "/x/")],
)
def test_a_slash_at_the_end_makes_no_other_place(one: str, other: str) -> None:
    """A transfer notes the place as it was written on the command line; the setting may be written otherwise."""
    assert StoreOptions(url=one).label == StoreOptions(url=other).label


@pytest.mark.parametrize(
    "given",
    [
        {"url": f"sftp://somebody:{SECRET}@host/folder"},
        {"url": f"s3://key:{SECRET}@bucket/x"},
        {"url": f"gs://bucket?token={SECRET}"},
        {"url": "s3://bucket/x", "endpoint": f"http://somebody:{SECRET}@host"},
        {"url": "s3://bucket/x", "access_key_id": SECRET, "secret_access_key": SECRET, "session_token": SECRET},
        {"url": "abfs://container/x", "storage_options": {"account_key": SECRET}},
    ],
)
def test_no_secret_is_in_the_repr(given: dict[str, Any]) -> None:
    assert SECRET not in repr(StoreOptions(**given))
    assert given["url"].partition("://")[0] in repr(StoreOptions(**given))


def test_nothing_happens_before_the_first_use(tmp_path: Any) -> None:
    script = f"""
import sys
from flue_sqla import Flue
flue = Flue("sqlite://", artifacts="s3://no-such-bucket/x")
flue.artifacts
local = Flue("sqlite://", artifacts={str(tmp_path / "folder")!r})
local.artifacts
print(sorted(name for name in ("fsspec", "s3fs", "obstore", "botocore", "aiohttp", "boto3") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
    assert not (tmp_path / "folder").exists()


def test_stores_are_asked_for_their_options_only_when_needed() -> None:
    def options() -> StoreOptions:
        raise ConfigurationError("asked")

    stores = Stores(options)
    stores.close()
    with pytest.raises(ConfigurationError):
        stores.blocking()


@given(st.text(min_size=1, max_size=300).filter(lambda text: not any(0xD800 <= ord(letter) <= 0xDFFF for letter in text)))
def test_every_tenant_has_one_legal_key(tenant: str) -> None:
    key = storage_key(tenant, "art_01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert check_key(key) == key
    assert len(key) <= 512
    assert all(len(component.encode()) <= 255 and component not in (".", "..") for component in key.split("/"))


@given(st.text(max_size=60), st.text(max_size=60))
def test_two_tenants_never_share_a_key(one: str, other: str) -> None:
    try:
        keys = (quote_component(one), quote_component(other))
    except InvalidInputError:
        return
    assert (keys[0] == keys[1]) == (one == other)


def test_long_tenants_differ_at_their_ends() -> None:
    assert quote_component("x" * 254 + "a") != quote_component("x" * 254 + "b")
    for tenant in ("", "lone \ud800"):
        with pytest.raises(InvalidInputError):
            quote_component(tenant)
