"""Where things are: session keys, stream paths and offsets (spec/submissions.md §3.1, spec/streams.md §1)."""

from __future__ import annotations

import re
from typing import NamedTuple

from flue_sqla.errors import InvalidInputError
from flue_sqla.wire.canonical import MAX_SAFE_INTEGER, canonical_json, parse_json

_SESSION_PREFIX = "agent-session:"


class SessionAddress(NamedTuple):
    """What a session key names."""

    agent: str
    instance_id: str
    harness: str
    session: str


def session_key(agent: str, instance_id: str, harness: str = "default", session: str = "default") -> str:
    """The FIFO lane of an agent instance: ``agent-session:["agent","instance","default","default"]``."""
    return _SESSION_PREFIX + canonical_json([agent, instance_id, harness, session])


def parse_session_key(key: str) -> SessionAddress | None:
    """The address, or None unless ``key`` is the prefix and an array of exactly four strings (a G1 key has three)."""
    if not key.startswith(_SESSION_PREFIX):
        return None
    try:
        parts = parse_json(key[len(_SESSION_PREFIX) :])
    except ValueError:
        return None
    if not isinstance(parts, list) or len(parts) != 4 or not all(isinstance(part, str) for part in parts):
        return None
    return SessionAddress(*parts)


def agent_prefix(agent: str) -> str:
    """What every session key of ``agent``, and no other agent's, begins with."""
    return f"{_SESSION_PREFIX}[{canonical_json(agent)},"


def prefix_end(prefix: str) -> str:
    """The smallest text that sorts, by UTF-8 bytes, above every text beginning with ``prefix``.

    Raises :class:`InvalidInputError` when there is none: the prefix is empty or only U+10FFFF.
    """
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        raise InvalidInputError("No text sorts above every text with this prefix.", meta={"prefix": prefix})
    successor = ord(kept[-1]) + 1
    return kept[:-1] + ("\ue000" if 0xD800 <= successor <= 0xDFFF else chr(successor))


def stream_path(agent: str, instance_id: str) -> str:
    """The conversation (or G1 event) stream of an agent instance; nothing is escaped."""
    return f"agents/{agent}/{instance_id}"


def run_path(run_id: str) -> str:
    """The event stream of a workflow run."""
    return f"runs/{run_id}"


_OFFSET = re.compile(r"[0-9]+_([0-9]+)")


def format_offset(seq: int) -> str:
    """The offset of batch ``seq``; ``-1`` for a negative one: before the first batch."""
    return f"0000000000000000_{seq:016d}" if seq >= 0 else "-1"


def parse_offset(text: str) -> int:
    """The batch number of an offset; −1 for ``-1``. Numbers that JavaScript cannot hold exactly are all returned as 2^53.

    Raises :class:`InvalidInputError` for anything else, ``now`` included.
    """
    if text == "-1":
        return -1
    match = _OFFSET.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidInputError(
            f'[flue] Invalid stream offset: "{text}".',
            meta={"offset": text},
            remedy="Pass the offset of something that was read, or -1 for the beginning.",
        )
    digits = match[1].lstrip("0")
    return min(int(digits or "0"), MAX_SAFE_INTEGER + 1) if len(digits) <= 16 else MAX_SAFE_INTEGER + 1
