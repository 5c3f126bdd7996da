"""How a template database gets to head."""

from __future__ import annotations


def migrate(url: str) -> None:
    """Bring the database at ``url`` to head, as an application's first boot would."""
    from flue_sqla import Flue

    flue = Flue(url)
    try:
        flue.boot()
    finally:
        flue.close()
