"""What a forked child has to forget: locks that a thread of the parent held, threads that do not exist here, sockets of the parent."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["Forkable", "reset_in_child"]


class Forkable(Protocol):
    def forget_parent(self) -> None:
        """Called in a forked child before anything else runs there."""
        ...


_owners: weakref.WeakSet[Forkable] = weakref.WeakSet()


def reset_in_child(owner: Forkable) -> None:
    """Call ``owner.forget_parent()`` in every child that is forked while ``owner`` is alive."""
    _owners.add(owner)


def _in_child() -> None:
    for owner in list(_owners):
        owner.forget_parent()


if hasattr(os, "register_at_fork"):
    # One registration for all owners: it cannot be taken back.
    os.register_at_fork(after_in_child=_in_child)
