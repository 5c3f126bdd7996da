"""The agent: a report on one Python file, in durable steps. A plain function, so the worker gives it a thread."""

from __future__ import annotations

import ast
import gzip
import hashlib
import io
import json
import tokenize
from collections import Counter
from pathlib import Path
from typing import Any

from flue_sqla.worker import BlockingContext


def report(ctx: BlockingContext) -> dict[str, Any]:
    """Read, tokenize, parse, and store the report; each step once, whatever happens to the process."""
    path = Path(ctx.message["body"])
    read = ctx.step("read", read_file, path)
    tokens = ctx.step("tokenize", count_tokens, path)
    syntax = ctx.step("parse", count_syntax, path)
    ctx.append({"type": "state_write", "name": "last_file", "value": str(path)})
    stored = ctx.step("store", store_report, ctx, path.name, {"file": str(path), **read, "tokens": tokens, "syntax": syntax})
    return {"artifact": stored["artifact"], "sha256": read["sha256"]}


def read_file(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"bytes": len(content), "lines": content.count(b"\n"), "sha256": hashlib.sha256(content).hexdigest()}


def count_tokens(path: Path) -> dict[str, int]:
    """How many tokens there are of each kind; up to the first one that is none."""
    counts: Counter[str] = Counter()
    try:
        with path.open("rb") as file:
            counts.update(tokenize.tok_name[token.type] for token in tokenize.tokenize(file.readline))
    except (SyntaxError, tokenize.TokenError):
        counts["UNREADABLE"] += 1
    return dict(sorted(counts.items()))


def count_syntax(path: Path) -> dict[str, int]:
    """How many nodes there are of each kind."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return {"UNREADABLE": 1}
    return dict(sorted(Counter(type(node).__name__ for node in ast.walk(tree)).items()))


def store_report(ctx: BlockingContext, name: str, content: dict[str, Any]) -> dict[str, Any]:
    """Store the report, unless an attempt that died right after it had stored it already."""
    for earlier in ctx.artifacts.list().artifacts:
        return {"artifact": earlier.id}
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed:
        packed.write(json.dumps(content, sort_keys=True).encode())
    stored = ctx.artifacts.put(buffer.getvalue(), name=f"{name}.json.gz", content_type="application/gzip")
    return {"artifact": stored.id}
