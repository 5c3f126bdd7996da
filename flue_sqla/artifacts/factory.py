"""From options to a store. Engines are imported here, when one is first needed."""

from __future__ import annotations

import logging
from importlib.util import find_spec

from flue_sqla.artifacts.bridges import AwaitedStore, PortalStore, on_thread
from flue_sqla.artifacts.options import StoreOptions
from flue_sqla.artifacts.store import AsyncObjectStore, ObjectStore, RangedStore

__all__ = ["async_store", "blocking_store"]

log = logging.getLogger("flue_sqla.artifacts")


def blocking_store(options: StoreOptions) -> ObjectStore:
    """The store for blocking callers: any thread, also inside a running event loop and after a fork.

    Raises:
        ConfigurationError: the options are wrong, or the engine is not installed.
    """
    options.check()
    if options.scheme == "s3":
        return PortalStore(lambda: _s3(options))
    return _native(options)


def async_store(options: StoreOptions, blocking: ObjectStore | None = None) -> AsyncObjectStore:
    """The store for the running event loop; ``blocking`` is reused where the engine has no async form.

    Raises:
        ConfigurationError: the options are wrong, or the engine is not installed.
    """
    options.check()
    if options.scheme == "s3":
        return _s3(options)
    return AwaitedStore(blocking if blocking is not None else _native(options), on_thread)


def _s3(options: StoreOptions) -> RangedStore:
    if options.engine == "obstore":
        from flue_sqla.artifacts.obstore_store import ObstoreStore, usable_here

        if usable_here() or find_spec("s3fs") is None:
            return ObstoreStore(options)
        log.info("obstore does not survive a fork: this process uses s3fs.")
    from flue_sqla.artifacts.s3 import S3Store

    return S3Store(options)


def _native(options: StoreOptions) -> ObjectStore:
    if options.scheme == "file":
        from flue_sqla.artifacts.local import LocalStore

        return LocalStore(options.folder)
    if options.scheme == "memory":
        from flue_sqla.artifacts.memory import MemoryStore

        return MemoryStore(options.url.partition("://")[2].strip("/"), options.plan)
    from flue_sqla.artifacts.fsspec_store import FsspecStore

    return FsspecStore(options)
