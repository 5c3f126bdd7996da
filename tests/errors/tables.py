"""The table of docs/errors.md, made from the classes: ``python -m tests.errors.tables`` prints it."""

from __future__ import annotations

import inspect

from flue_sqla import errors


def rows() -> list[str]:
    lines = ["| Code | Class | Meaning |", "|---|---|---|"]
    for name in errors.__all__:
        kind = getattr(errors, name)
        first_paragraph = (inspect.getdoc(kind) or "").split("\n\n")[0]
        lines.append(f"| `{kind.code}` | `{name}` | {' '.join(first_paragraph.split())} |")
    return lines


if __name__ == "__main__":
    print("\n".join(rows()))
