"""The artifact store: bytes of any size in a folder or an object store, and one row for each."""

from __future__ import annotations

from flue_sqla.artifacts.artifacts import Artifacts, AsyncArtifacts
from flue_sqla.artifacts.offload import AttachmentOffload
from flue_sqla.artifacts.options import StoreOptions
from flue_sqla.artifacts.stores import Stores

__all__ = ["Artifacts", "AsyncArtifacts", "AttachmentOffload", "StoreOptions", "Stores"]
