"""The two witnesses of JavaScript's behaviour: vectors that Node wrote, and Node itself where it is installed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.wire.oracle import HERE, Node


@pytest.fixture(scope="session")
def vectors() -> Any:
    return json.loads((HERE / "vectors.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    executable = shutil.which(os.environ.get("FLUE_TEST_NODE", "node"))
    if executable is None:
        pytest.skip("node is not installed; the vectors that it wrote are still tested")
    process = Node(executable)
    yield process
    process.close()
