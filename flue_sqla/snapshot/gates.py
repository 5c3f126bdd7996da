"""What a target must be before a snapshot goes in; all asked under the locks of the import."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from flue_sqla.errors import SnapshotConflictError
from flue_sqla.models.tables import submissions
from flue_sqla.snapshot.catalogue import TABLES, SnapshotTable
from flue_sqla.snapshot.database import Rows
from flue_sqla.snapshot.ledger import Ledger

__all__ = ["clear_marks", "refuse_live_leases", "refuse_occupied"]


def refuse_live_leases(rows: Rows, now: int) -> None:
    """Refuse while somebody works; ``now`` in epoch ms.

    Raises:
        SnapshotConflictError: naming a submission.
    """
    found = rows.first(
        sa.select(submissions.c.submission_id, submissions.c.lease_expires_at)
        .where(submissions.c.status != "settled", submissions.c.lease_expires_at > now)
        .limit(1)
    )
    if found is not None:
        raise SnapshotConflictError(
            f"A worker is alive: it holds the lease of submission {found[0]!r} for another {found[1] - now} ms.",
            meta={"submissionId": found[0], "leaseExpiresAt": found[1]},
            remedy="Stop all workers and servers, wait until their leases have expired, then import.",
        )


def refuse_occupied(rows: Rows, tables: Sequence[SnapshotTable], tenant: str | None) -> None:
    """Refuse a target that has data.

    Raises:
        SnapshotConflictError: naming the tables.
    """
    occupied = [table.name for table in tables if rows.any(table, tenant=tenant)]
    if occupied:
        raise SnapshotConflictError(
            f"The database is not empty: {', '.join(occupied)} {'has' if len(occupied) == 1 else 'have'} rows.",
            meta={"tables": occupied},
            remedy="Import into an empty database, or with --mode replace or --mode merge.",
        )


def clear_marks(rows: Rows, ledger: Ledger, uploading_since: int) -> None:
    """Remove the marks of earlier sweeps from storage keys whose bytes are there again.

    A sweep commits its mark before it removes bytes: a mark that is younger than our upload (``uploading_since``, epoch ms) may be about
    to remove what we have just stored.

    Raises:
        SnapshotConflictError: there is such a mark.
    """
    for table in TABLES:
        for identity, storage_key, marked_at in rows.marks(table):
            if not ledger.wants(storage_key):
                continue
            if marked_at >= uploading_since:
                raise SnapshotConflictError(
                    f"A sweep took {storage_key!r} while its bytes were being imported.",
                    meta={"storageKey": storage_key},
                    remedy="Import again; sweep with a longer grace time, or not during an import.",
                )
            rows.delete_by_id(table, identity)
