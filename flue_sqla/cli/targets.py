"""The file that a command writes: one that is there is left alone unless --force is given, and one that cannot be written is said to be."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flue_sqla.errors import ConfigurationError, SnapshotError

__all__ = ["refuse_early", "taken", "writing"]


def refuse_early(target: str | os.PathLike[str], *, force: bool) -> None:
    """Notice what is in the way before anything is fetched for the file: one of that name, or a folder that takes none.

    A link counts as a file, wherever it leads. A device or a pipe is never replaced: /dev/null would be a file ever after.

    Raises:
        ConfigurationError: there is one, and ``force`` does not allow to replace it; or the folder is missing, none, or closed to us.
    """
    if not force and os.path.lexists(target):
        raise taken(target)
    with writing(target):
        if os.fspath(target)[-1:] in ("", os.sep):
            raise OSError(errno.EISDIR, "It is no name of a file")
        if os.path.exists(target) and not os.path.isfile(target):
            raise OSError(errno.EINVAL, "It is no file")
        folder = Path(target).parent
        os.stat(folder)
        if not os.path.isdir(folder):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def taken(target: str | os.PathLike[str]) -> ConfigurationError:
    """The refusal to write over a file."""
    name = os.fspath(target)
    return ConfigurationError(
        f"The file {name!r} exists.", meta={"path": name}, remedy="Name another file, or give --force to overwrite it."
    )


@contextmanager
def writing(target: str | os.PathLike[str]) -> Iterator[None]:
    """Around the writing of ``target``: what the operating system has against it, in the same words for every command.

    Raises:
        ConfigurationError: it refused.
    """
    try:
        yield
    except (OSError, SnapshotError) as error:
        refusal = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(refusal, OSError):
            raise
        name = os.fspath(target)
        raise ConfigurationError(
            f"The file {name!r} cannot be written: {refusal.strerror or refusal}.",
            meta={"path": name},
            remedy="Name a file in a folder that exists, that you may write to and that has room for it.",
        ) from refusal
