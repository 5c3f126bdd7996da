"""What is said to people sends them only to what an installed package has."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import flue_sqla

PACKAGE = Path(flue_sqla.__file__).parent


def _texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """Every string that is a value; one that stands by itself documents the code, for those who have its documents beside it."""
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node


def test_no_text_names_a_document_of_the_repository() -> None:
    named = [
        f"{path.relative_to(PACKAGE)}:{text.lineno}: {text.value}"
        for path in PACKAGE.rglob("*.py")
        for text in _texts(ast.parse(path.read_text()))
        if any(part in text.value for part in ("docs/", "spec/", ".md"))
    ]
    assert named == []
