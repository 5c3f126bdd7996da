"""The programs in the guides: fenced Python blocks whose first line names their file."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```python\n# (?P<name>\w+\.py)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def programs(guide: str) -> dict[str, str]:
    """File name to text, of every program in ``docs/<guide>``."""
    return {block["name"]: block["text"] for block in _BLOCK.finditer((DOCS / guide).read_text())}


def write_programs(guide: str, folder: Path) -> None:
    """Write them as a reader would who copies them."""
    for name, text in programs(guide).items():
        (folder / name).write_text(text)
