"""The bytes of artifacts, out of the object store and into it. Bytes first, rows last: a crash leaves at worst what ``sweep`` removes."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from flue_sqla.artifacts.parts import Assembler
from flue_sqla.artifacts.store import ObjectStore
from flue_sqla.errors import ArtifactConflictError, ArtifactStoreError, SnapshotConflictError, SnapshotError
from flue_sqla.snapshot.ledger import Ledger
from flue_sqla.snapshot.reader import Blob
from flue_sqla.snapshot.writer import SnapshotWriter

if TYPE_CHECKING:
    from flue_sqla.flue import Flue

__all__ = ["BlobLoader", "export_blobs"]

_PIECE: Final = 1 << 20


def export_blobs(flue: Flue, writer: SnapshotWriter, ledger: Ledger) -> None:
    """Write the bytes of every digest that ``ledger`` knows, in the order of the digests.

    Raises:
        SnapshotError: bytes are missing or corrupt.
        ArtifactStoreError: the object store failed.
    """
    store = flue._stores.blocking()
    for sha256, key, size in ledger.digests():
        if store.stat(key) is None:
            raise SnapshotError(
                f"The bytes of the artifact under {key!r} are not in the object store.",
                meta={"storageKey": key, "sha256": sha256},
                remedy=(
                    "Check that FLUE_ARTIFACTS names the store that it was put into. If it was deleted while the export ran, export "
                    "again; if its bytes are lost, `flue-sqla artifacts sweep --repair` forgets it."
                ),
            )
        writer.blob(sha256, size, _pieces(store, key, size))


class BlobLoader:
    """Puts blobs under the keys that the rows want, and can take back what it put."""

    def __init__(self, store: ObjectStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._mine: list[str] = []
        self.stored = 0
        self.present = 0

    def load(self, blob: Blob) -> None:
        """Store one blob wherever it is wanted and not there yet.

        Raises:
            SnapshotConflictError: a key holds other bytes.
            ArtifactStoreError: the object store failed.
        """
        wanted = [key for key, _ in self._ledger.places(blob.sha256)]
        missing = [key for key in wanted if not self._is_there(key, blob)]
        self.present += len(wanted) - len(missing)
        source: Iterable[bytes] = blob
        for key in missing:
            self._put(key, blob, source)
            # The file can be read only once; further copies come from the store.
            source = _pieces(self._store, key, blob.size)

    def take_back(self) -> None:
        """Remove what was put: the rows will not come."""
        for key in self._mine:
            with contextlib.suppress(ArtifactStoreError):
                self._store.delete(key)
        self._mine.clear()

    def _is_there(self, key: str, blob: Blob) -> bool:
        found = self._store.stat(key)
        if found is None:
            return False
        if found.size != blob.size or _digest(_pieces(self._store, key, found.size)) != blob.sha256:
            raise SnapshotConflictError(
                f"The object store holds other bytes under {key!r} than the snapshot has for it.",
                meta={"storageKey": key, "sha256": blob.sha256},
                remedy="Import with another artifact store or prefix (FLUE_ARTIFACTS).",
            )
        return True

    def _put(self, key: str, blob: Blob, pieces: Iterable[bytes]) -> None:
        upload = self._store.begin(key, size=blob.size)
        assembler = Assembler(self._store.plan, blob.size)
        try:
            for piece in pieces:
                for part in assembler.feed(piece):
                    upload.send(part)
            if rest := assembler.rest():
                upload.send(rest)
            upload.complete()
        except ArtifactConflictError as error:
            raise SnapshotConflictError(
                f"Somebody else wrote {key!r} at the same time.", meta={"storageKey": key}, remedy="Import again."
            ) from error
        except BaseException:
            upload.abort()
            raise
        self._mine.append(key)
        self.stored += 1


def _pieces(store: ObjectStore, key: str, size: int) -> Iterator[bytes]:
    if size == 0:
        return
    with contextlib.closing(store.open(key, size)) as file:
        while piece := file.read(_PIECE):
            yield piece


def _digest(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
