"""Digests that spare re-reading a session: what was stored last, and whether it was this library that stored it.

``prefix_digest`` of a session row is a *seal* of 64 hex digits: how many of the first entries it covers (8), a digest over theirs (28),
and a digest of the row's own document (28). Every writer of a session rewrites that document, so a seal whose last part still fits says
that nobody else wrote since, and that the digests of the entries and the counts beside it can be trusted. A row without a seal, or with
one that does not fit (a Flue server wrote it), is compared by its texts.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from flue_sqla.repositories.submissions.images import Chunk

__all__ = ["HEAD_DIGITS", "SEAL_PREFIX_DIGITS", "Seal", "editable", "entry_digest", "images_part"]

_COVERED_DIGITS: Final = 8
HEAD_DIGITS: Final = 28
SEAL_PREFIX_DIGITS: Final = 64 - HEAD_DIGITS
_PART: Final = 16


def entry_digest(text: str, chunks: Sequence[Chunk]) -> str:
    """96 bits of SHA-256 over the stored text in 16 characters, and as many over the images if there are any."""
    return _short(hashlib.sha256(text.encode())) + (_images_digest(chunks) if chunks else "")


def images_part(digest: str) -> str:
    """Of an entry's digest, what says whether its images changed."""
    return digest[_PART:]


class Seal(NamedTuple):
    """A seal that fits its document."""

    covered: int
    chain: str

    @classmethod
    def over(cls, digests: Sequence[str]) -> Seal:
        """The seal of a session with exactly these entries."""
        return cls(len(digests), _chain(digests))

    @classmethod
    def read(cls, stored: str | None, data: str, head: Mapping[str, Any]) -> Seal | None:
        """The seal of a stored row, or None when there is none or the document is not the one that was sealed."""
        if stored is None or len(stored) != 64 or stored[SEAL_PREFIX_DIGITS:] != _head_digest(data, head):
            return None
        return cls(int(stored[:_COVERED_DIGITS], 16), stored[_COVERED_DIGITS:SEAL_PREFIX_DIGITS])

    def text(self, data: str, head: Mapping[str, Any]) -> str:
        """What is stored beside the document ``data``."""
        return f"{self.covered:08x}{self.chain}{_head_digest(data, head)}"

    def fits(self, digests: Sequence[str]) -> bool:
        """Whether these entries begin with the ones that are covered."""
        return len(digests) >= self.covered and _chain(digests[: self.covered]) == self.chain


def editable(data: str, head: Mapping[str, Any]) -> bool:
    """Whether the server itself may set the leaf in the document: it is there, and no character is escaped by its number.

    PostgreSQL's JSON functions refuse a document with an escaped NUL or half a surrogate pair anywhere in it.
    """
    return "leafId" in head and "\\u" not in data


def _head_digest(data: str, head: Mapping[str, Any]) -> str:
    # The server recomputes the digest of an editable document; that of another one is made so that it never fits there.
    return _digest(data if editable(data, head) else "\0" + data)[:HEAD_DIGITS]


def _chain(digests: Iterable[str]) -> str:
    return _digest("".join(digests))[: SEAL_PREFIX_DIGITS - _COVERED_DIGITS]


def _images_digest(chunks: Sequence[Chunk]) -> str:
    running = hashlib.sha256()
    for chunk in sorted(chunks):
        running.update(f"{chunk.item_id}\0{chunk.index}\0{chunk.count}\0{len(chunk.data)}\0".encode())
        running.update(chunk.data.encode())
    return _short(running)


def _short(digest: hashlib._Hash) -> str:
    # Every entry pays for these characters.
    return base64.urlsafe_b64encode(digest.digest()[:12]).decode("ascii")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
