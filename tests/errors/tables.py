"""The tables of docs/errors.md, made from the classes and codes: ``python -m tests.errors.tables`` prints them."""

from __future__ import annotations

import inspect

from flue_sqla import errors
from flue_sqla.codes import Code


def rows() -> list[str]:
    lines = ["| Code | Class | Meaning |", "|---|---|---|"]
    for name in errors.__all__:
        kind = getattr(errors, name)
        first_paragraph = (inspect.getdoc(kind) or "").split("\n\n")[0]
        lines.append(f"| `{kind.code}` | `{name}` | {' '.join(first_paragraph.split())} |")
    return lines


def other_rows() -> list[str]:
    return ["| Code | Meaning |", "|---|---|", *(f"| `{code}` | {code.meaning} |" for code in Code)]


if __name__ == "__main__":
    print("\n".join([*rows(), "", *other_rows()]))
