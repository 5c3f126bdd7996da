"""Where a command writes its file: never over what is none."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from flue_sqla import Flue, snapshot
from flue_sqla.errors import SnapshotError
from tests.cli.conftest import Call

pytestmark = pytest.mark.databases("sqlite")


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """What stands for /dev/null, which root may replace too."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("linked", [False, True])
def test_a_device_or_pipe_is_not_replaced_by_force(call: Call, pipe: Path, tmp_path: Path, linked: bool) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    artifact = call("artifacts", "put", str(tmp_path / "file"))[1].split()[0]
    target = tmp_path / "link" if linked else pipe
    if linked:
        target.symlink_to(pipe)
    for command in (("artifacts", "get", artifact, str(target)), ("snapshot", "export", str(target))):
        code, out, err = call(*command, "--force")
        assert (code, out) == (2, "")
        assert "It is no file" in err
    assert stat.S_ISFIFO(target.stat().st_mode)
    assert target.is_symlink() is linked


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_an_export_replaces_files_only(store: Flue, pipe: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(SnapshotError, match="It is no file"):
        snapshot.export(store, tmp_path / kind)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "flue.db") == ["folder", "pipe"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
