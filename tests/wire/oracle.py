"""A Node process that answers what JavaScript makes of a value, a text or a date."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def units(text: str) -> list[int]:
    """The UTF-16 code units of ``text``."""
    raw = text.encode("utf-16-le", "surrogatepass")
    return list(struct.unpack(f"<{len(raw) // 2}H", raw))


def text_of(code_units: list[int]) -> str:
    """The Python text of UTF-16 code units; a lone surrogate stays one."""
    return struct.pack(f"<{len(code_units)}H", *code_units).decode("utf-16-le", "surrogatepass")


def tagged(value: Any) -> Any:
    """``value`` in the tagged form of ``make_vectors.mjs``: nothing is lost between the languages."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return ["s", units(value)]
    if isinstance(value, dict):
        return ["o", [[units(key), tagged(item)] for key, item in value.items()]]
    if isinstance(value, list):
        return ["a", [tagged(item) for item in value]]
    return ["n", struct.pack(">d", value).hex()]


def untagged(value: Any) -> Any:
    """The Python value of the tagged form."""
    if not isinstance(value, list):
        return value
    tag, content = value
    if tag == "s":
        return text_of(content)
    if tag == "o":
        return {text_of(key): untagged(item) for key, item in content}
    if tag == "a":
        return [untagged(item) for item in content]
    return struct.unpack(">d", bytes.fromhex(content))[0]


class Node:
    """One long-lived process; a question costs well under a millisecond."""

    def __init__(self, executable: str) -> None:
        self._process = subprocess.Popen(
            [executable, str(HERE / "oracle.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", bufsize=1
        )

    def ask(self, question: str, subject: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([question, subject]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=10)
