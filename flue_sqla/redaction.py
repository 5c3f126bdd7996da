"""Keeps secrets out of whatever is shown. Drivers and servers repeat what they were given; their texts are not ours to trust."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus

__all__ = ["Redactor", "secrets_of_environment", "secrets_of_url"]

_SECRET_NAME: Final = re.compile(r"SECRET|TOKEN|PASSWORD|ACCESS_KEY", re.IGNORECASE)
_URL_NAME: Final = re.compile(r"(_URL|ARTIFACTS|ENDPOINT)$", re.IGNORECASE)
_IN_URL: Final = re.compile(r"//[^/@:]*:(.*)@")
_IN_QUERY: Final = re.compile(r"[?&;][^=&;]*(?:pass|secret|token|key)[^=&;]*=([^&;]+)", re.IGNORECASE)
_SHORTEST_WORD: Final = 4
"""A shorter secret occurs by chance in any text: it is told by where it stands, as in ``//user:x@`` and ``password=x``."""
_USER: Final = r"(//[^\s/@:]*:)(?:{})(?=@)"
_NAMED: Final = r"((?i:pass|pwd|secret|token|key)[\w-]*[\"']?\s*[=:](?!\s*[\"']?\*\*\*)\s*[\"']?)(?:{})(?!\w)"
"""What is hidden already is passed over: the blank and the quote before it may themselves be a spelling of a short secret."""
_READ: Final = re.compile(r"^(FLUE_|FLUENT_|DATABASE_URL$|AWS_|PG|MYSQL_)")


def secrets_of_environment(environ: Mapping[str, str] | None = None) -> frozenset[str]:
    """Everything in the variables that may be secret, also where the settings as a whole could not be read."""
    found: set[str] = set()
    for name, value in (os.environ if environ is None else environ).items():
        if not _READ.match(name):
            continue
        if _SECRET_NAME.search(name):
            found.add(value)
        elif _URL_NAME.search(name):
            found |= secrets_of_url(value)
    return frozenset(filter(None, found))


def secrets_of_url(url: str) -> set[str]:
    """The passwords that a text which is meant to be a URL may hold, however broken it is."""
    return {*_IN_URL.findall(url), *_IN_QUERY.findall(url)}


class Redactor:
    """Replaces secrets by ``***``, in every spelling that a URL gives them; very short ones only where a secret stands."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: tuple[str, ...] = ()
        self._places: re.Pattern[str] | None = None
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Know more secrets."""
        spellings = set(self._secrets)
        for secret in secrets:
            spellings |= {
                secret,
                quote(secret),
                quote(secret, safe=""),
                quote_plus(secret),
                unquote(secret),
                unquote_plus(secret),
                repr(secret)[1:-1],
            }
        # The longest first: a secret may contain another one.
        self._secrets = tuple(sorted(filter(str.strip, spellings), key=len, reverse=True))
        short = "|".join(re.escape(secret) for secret in self._secrets if len(secret) < _SHORTEST_WORD)
        self._places = re.compile("|".join(place.replace("{}", short) for place in (_USER, _NAMED))) if short else None

    def clean(self, text: str) -> str:
        """``text`` without any of them."""
        for secret in self._secrets:
            if len(secret) >= _SHORTEST_WORD:
                text = text.replace(secret, "***")
        return self._places.sub(r"\1\2***", text) if self._places is not None else text
