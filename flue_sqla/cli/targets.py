"""The file that a command writes: one that is there is left alone unless --force is given."""

from __future__ import annotations

import os

from flue_sqla.errors import ConfigurationError

__all__ = ["refuse_existing", "taken"]


def refuse_existing(target: str | os.PathLike[str], *, force: bool) -> None:
    """Notice a file in the way before anything is fetched for it; a link counts, wherever it leads.

    Raises:
        ConfigurationError: there is one, and ``force`` does not allow to replace it.
    """
    if not force and os.path.lexists(target):
        raise taken(target)


def taken(target: str | os.PathLike[str]) -> ConfigurationError:
    """The refusal to write over a file."""
    name = os.fspath(target)
    return ConfigurationError(
        f"The file {name!r} exists.", meta={"path": name}, remedy="Name another file, or give --force to overwrite it."
    )
