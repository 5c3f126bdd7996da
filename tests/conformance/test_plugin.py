"""The plugin as a third party runs it: in a process of its own, from the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flue_sqla.records import AttachmentRef
from flue_sqla.testing.harness import open_stores
from tests.databases.contract import Database

A_FEW = "s01 or s14 or c05 or a02 or s71 or x17"
ROOT = Path(__file__).parents[2]


def pytest_in_a_process(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "flue_sqla.testing.plugin", "-p", "no:cacheprovider", "-q", *arguments]
    # A neutral folder and configuration: nothing of this repository's own tests may help.
    (folder / "pytest.ini").write_text("[pytest]\n")
    return subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def suite(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return pytest_in_a_process(folder, "--pyargs", "flue_sqla.testing.suite", "-k", A_FEW, *arguments)


@pytest.mark.parametrize("face", ["url", "async_url"])
def test_an_empty_database_by_url(database: Database, face: str, tmp_path: Path) -> None:
    done = suite(tmp_path, "--flue-url", getattr(database, face))
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_a_database_with_rows_is_refused_and_left_alone(migrated: Database, tmp_path: Path) -> None:
    ref = AttachmentRef.of("att_1", "text/plain", b"precious")
    with open_stores(migrated.url, boot=False) as mine:
        mine.attachments.put("agents/a/b", ref, b"precious", "conv_1")
        done = suite(tmp_path, "--flue-url", migrated.url)
        assert done.returncode == 4
        assert "this database holds rows in flue_attachment" in done.stdout
        assert "Traceback" not in done.stdout + done.stderr
        assert mine.attachments.get("agents/a/b", "att_1", "conv_1") is not None


@pytest.mark.parametrize("url", ["nonsense://host/name", "postgresql+psycopg://127.0.0.1:1/none"])
def test_a_url_that_leads_nowhere_ends_the_run_at_once(url: str, tmp_path: Path) -> None:
    done = suite(tmp_path, "--flue-url", url)
    assert (done.returncode, "--flue-url: " in done.stdout) == (4, True)
    assert "ERROR test_" not in done.stdout


def test_without_a_url_the_reference_model_is_tested(tmp_path: Path) -> None:
    done = suite(tmp_path)
    assert done.returncode == 0, done.stdout


def test_a_contract_checks_stores_of_somebody_elses_making(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "import pytest\n"
        "from flue_sqla.testing.contracts import AttachmentContract\n"
        "from flue_sqla.testing.model import memory_stores\n"
        "class Forgetful:\n"
        "    def __init__(self, kept): self.kept = kept\n"
        "    def put(self, path, ref, data, conversation): self.kept.put(path, ref, data, conversation)\n"
        "    def get(self, path, attachment_id, conversation): return None\n"
        "@pytest.fixture\n"
        "def stores():\n"
        "    stores = memory_stores()\n"
        "    stores.attachments = Forgetful(stores.attachments)\n"
        "    return stores\n"
        "class TestMine(AttachmentContract): pass\n"
    )
    done = pytest_in_a_process(tmp_path, "test_mine.py")
    assert done.returncode == 1
    assert "test_a01_what_was_put_is_got" in done.stdout
    assert "test_a03_repeating_the_same_put_succeeds" not in done.stdout.split("short test summary")[1]


def test_the_package_itself_needs_no_test_tool() -> None:
    look = "import sys, flue_sqla.testing; print([name for name in ('pytest', 'hypothesis', 'alembic') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
