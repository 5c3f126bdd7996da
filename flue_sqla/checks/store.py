"""The object store: a probe object is really written, read in part and as a whole, and deleted."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from flue_sqla.artifacts.factory import blocking_store
from flue_sqla.artifacts.keys import storage_key
from flue_sqla.artifacts.options import StoreOptions
from flue_sqla.artifacts.store import ObjectStore
from flue_sqla.checks.report import Area, CheckReport
from flue_sqla.checks.steps import Failed, Steps
from flue_sqla.codes import Code
from flue_sqla.errors import ArtifactStoreError, ConfigurationError, FlueError
from flue_sqla.wire import new_id

__all__ = ["StoreChecks", "store_kind"]

_SIZE: Final = 64 * 1024
_STEPS: Final = ("store_write", "store_read", "store_delete")
_KINDS: Final = {"file": "fs"}


def store_kind(scheme: str) -> str:
    """The second half of ``storageBackend``: ``s3``, ``fs`` for folders, else the scheme itself."""
    return _KINDS.get(scheme, scheme)


class StoreChecks:
    """The steps on one object store; ``init`` creates a missing bucket."""

    def __init__(self, options: StoreOptions, report: CheckReport, steps: Steps, *, init: bool) -> None:
        self._options = options
        self._report = report
        self._steps = steps
        self._init = init
        # An artifact's key, so that a sweep finds what a killed check leaves.
        self._key = storage_key("flue-check", new_id("art"))
        self._data = secrets.token_bytes(_SIZE)

    def run(self) -> None:
        """All steps that can be tried; whatever happens, the probe is removed."""
        try:
            store = blocking_store(self._options)
        except (ConfigurationError, ArtifactStoreError) as error:
            refusal = error

            def refuse() -> str:
                raise refusal

            # Some filesystems connect as soon as they are made.
            self._steps.run("store", Area.CONFIGURATION if isinstance(error, ConfigurationError) else Area.STORE, refuse)
            self._skip(_STEPS, "The store could not be opened.")
            return
        try:
            with _folders_kept(self._options):
                try:
                    self._probe(store)
                except BaseException:  # an operator who interrupts it
                    self._discard(store)
                    raise
        finally:
            store.close()

    def _probe(self, store: ObjectStore) -> None:
        if not self._steps.run("store_write", Area.STORE, lambda: self._write(store)):
            self._discard(store)
            self._skip(_STEPS[1:], "Nothing could be written.")
            return
        self._steps.run("store_read", Area.STORE, lambda: self._read(store))
        if not self._steps.run("store_delete", Area.STORE, lambda: self._delete(store)):
            self._discard(store)
        self._report.features += self._features(store)

    def _write(self, store: ObjectStore) -> str:
        created = ""
        try:
            self._upload(store)
        except ArtifactStoreError as error:
            if not self._init or error.meta.get("reason") != "bucket_missing":
                raise
            self._create()
            self._upload(store)
            created = "The bucket was created. "
        found = store.stat(self._key)
        if found is None or found.size != _SIZE:
            raise Failed("The probe object was written, but the store does not show it.", _INCONSISTENT, Code.STORE_INCONSISTENT)
        return f"{created}A probe object of {_SIZE} bytes was written."

    def _upload(self, store: ObjectStore) -> None:
        # Some servers create a missing bucket with the first object in it; a listing does not.
        next(iter(store.list(self._key)), None)
        upload = store.begin(self._key, size=_SIZE)
        try:
            upload.send(self._data)
            upload.complete()
        except BaseException:
            with contextlib.suppress(FlueError):
                upload.abort()
            raise

    def _create(self) -> None:
        # Only s3fs can create buckets; whoever uses the other engine needs it for this one call.
        maker = blocking_store(dataclasses.replace(self._options, engine="s3fs"))
        try:
            maker.create()
        finally:
            maker.close()

    def _read(self, store: ObjectStore) -> str:
        start, end = _SIZE // 3, _SIZE // 3 + 1000
        if store.read_range(self._key, start, end) != self._data[start:end]:
            raise Failed("A range of the probe object came back with other bytes.", _INCONSISTENT, Code.STORE_INCONSISTENT)
        with contextlib.closing(store.open(self._key, _SIZE)) as file:
            whole = file.read()
        if hashlib.sha256(whole).digest() != hashlib.sha256(self._data).digest():
            raise Failed("The probe object came back with other bytes.", _INCONSISTENT, Code.STORE_INCONSISTENT)
        return "A range and the whole of it came back as they were written."

    def _delete(self, store: ObjectStore) -> str:
        store.delete(self._key)
        if store.stat(self._key) is not None:
            raise Failed("The probe object is still there after it was deleted.", _INCONSISTENT, Code.STORE_INCONSISTENT)
        return "The probe object was deleted."

    def _discard(self, store: ObjectStore) -> None:
        with contextlib.suppress(FlueError):
            store.delete(self._key)

    def _skip(self, names: tuple[str, ...], why: str) -> None:
        for name in names:
            self._steps.skip(name, Area.STORE, why)

    def _features(self, store: ObjectStore) -> list[str]:
        try:
            store.presign(self._key, 60)
        except FlueError:
            return []
        return ["presigned-urls"]


_INCONSISTENT: Final = "Use a store that shows a write to the next read; look for a proxy or cache in between."


@contextlib.contextmanager
def _folders_kept(options: StoreOptions) -> Iterator[None]:
    """Remove the folders that the probe needed and that were not there before."""
    if store_kind(options.scheme) != "fs":
        yield
        return
    root = options.folder.absolute()
    candidates = [root / "flue-check", root / ".incoming", root, *root.parents]
    # os.path.exists has an answer where a path cannot be looked at; the probe then says why.
    missing = [folder for folder in candidates if not os.path.exists(folder)]
    try:
        yield
    finally:
        _remove_empty(missing)


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            os.rmdir(folder)
