"""The conversation stream repository (spec/streams.md part A)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from flue_sqla.errors import ConversationStreamStoreError, InvalidInputError
from flue_sqla.records.conversation import FoldCheckpoint, ProducerClaim, StreamIdentity, StreamMeta, StreamPage
from flue_sqla.records.submission import Attempt
from flue_sqla.repositories.conversations import appending, checkpoints, reading, statements
from flue_sqla.repositories.conversations.batch import Batch
from flue_sqla.repositories.paging import page_limit
from flue_sqla.repositories.scope import Executor, Scope
from flue_sqla.signals import stream_topic
from flue_sqla.wire import canonical_json, format_offset, new_id, parse_json, require_storable

__all__ = ["Conversations"]


class Conversations:
    """Append-only streams of record batches, one per agent instance, each with one fenced producer.

    Every refusal is a :class:`~flue_sqla.errors.ConversationStreamStoreError` whose ``reason`` is the contract's; the stream is
    unchanged then. On MySQL and MariaDB every method refuses a path of more than 255 UTF-16 units.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    # -- streams ----------------------------------------------------------------------------------------------------------------

    def create(self, path: str, agent_name: str, instance_id: str) -> None:
        """Create the stream of an agent instance; an existing one of the same identity stays as it is (spec/streams.md §3.1).

        Raises:
            ConversationStreamStoreError: ``Stream identity conflicts.`` — the path belongs to another instance.
        """
        self.check_path("create", path)
        identity = canonical_json({"agentName": agent_name, "instanceId": instance_id})
        row = {"path": path, "identity_json": identity, "incarnation": new_id("inc")}
        single = self._scope.dialect.single_statement
        stored = self._scope.single(lambda executor: self._create_in_one(executor, row)) if single else None
        if stored is None:
            stored = self._scope.write(lambda executor: self._create(executor, row))
        if stored != identity:
            raise ConversationStreamStoreError("create", path, "Stream identity conflicts.")

    def acquire_producer(self, path: str, producer_id: str) -> ProducerClaim:
        """Become the stream's only producer and fence every earlier one, oneself included (spec/streams.md §3.2).

        Raises:
            ConversationStreamStoreError: ``Stream does not exist.``
        """
        self.check_path("acquire_producer", path)
        require_storable(producer_id, "producer_id")
        self._scope.dialect.check_key("producer_id", producer_id)
        parameters = {"of_path": path, "of_producer": producer_id}
        if self._scope.dialect.update_returning:
            row = self._scope.single(lambda executor: executor.execute(statements.ACQUIRE_RETURNING, parameters).first())
        else:
            row = self._scope.write(lambda executor: _acquire(executor, parameters))
        if row is None:
            raise ConversationStreamStoreError("acquire_producer", path, "Stream does not exist.")
        return ProducerClaim(
            producer_id=producer_id,
            producer_epoch=row.producer_epoch,
            incarnation=row.incarnation,
            next_producer_sequence=row.next_producer_sequence,
            offset=format_offset(row.next_offset - 1),
        )

    def get_meta(self, path: str, *, lock: bool = False) -> StreamMeta | None:
        """The stream's identity, head and producer; None if it does not exist. ``lock``: to the end of the unit it stays so."""
        self.check_path("get_meta", path)
        statement = statements.LOCKED_STREAM if lock else statements.META
        row = self._scope.read(lambda executor: executor.execute(statement, {"of_path": path}).first())
        if row is None:
            return None
        try:
            identity = StreamIdentity.from_wire(parse_json(row.identity_json))
        except (ValueError, TypeError, InvalidInputError):
            raise ConversationStreamStoreError("get_meta", path, "Stored stream identity is malformed.") from None
        return StreamMeta(
            identity=identity,
            incarnation=row.incarnation,
            next_offset=format_offset(row.next_offset - 1),
            producer_id=row.producer_id,
            producer_epoch=row.producer_epoch,
            next_producer_sequence=row.next_producer_sequence,
        )

    def list_paths(self, *, after: str | None = None, limit: int | None = None) -> list[str]:
        """The paths of existing streams in the order of the index, from the one after ``after`` on.

        ``limit`` is read as by :meth:`read`. An empty list means that there are no more.
        """
        parameters: dict[str, Any] = {"fetch": page_limit(limit)}
        statement = statements.PATHS
        if after is not None:
            self.check_path("list", after)
            statement, parameters["of_path"] = statements.PATHS_AFTER, after
        return list(self._scope.read(lambda executor: executor.execute(statement, parameters).scalars().all()))

    # -- batches ----------------------------------------------------------------------------------------------------------------

    def append(
        self,
        path: str,
        *,
        producer_id: str,
        producer_epoch: int,
        incarnation: str,
        producer_sequence: int,
        records: Sequence[Mapping[str, Any]],
        submission: Attempt | None = None,
    ) -> str:
        """Append one indivisible batch and wake this process's listeners before returning (spec/streams.md §3.3).

        Args:
            path: the stream.
            producer_id, producer_epoch, incarnation: the claim, as :meth:`acquire_producer` returned it.
            producer_sequence: 0 for the claim's first batch, then one more for each.
            records: plain JSON objects, stored verbatim; at most 12 MiB of JSON text in UTF-16 units.
            submission: the attempt that owns those records which name a submission (spec/streams.md §3.4).

        Returns:
            The batch's offset. The same call again returns the same offset and writes nothing, also after a lost answer.

        Raises:
            ConversationStreamStoreError: a check failed; ``reason`` says which.
            ValueTooLargeError: the batch exceeds the server's packet limit (MySQL, MariaDB).
        """
        self.check_path("append", path)
        batch = Batch.of(
            records,
            submission,
            path=path,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            incarnation=incarnation,
            producer_sequence=producer_sequence,
        )
        return appending.append(self._scope, batch)

    def read(self, path: str, *, offset: str = "-1", limit: int | None = None) -> StreamPage:
        """The batches strictly after ``offset`` (spec/streams.md §3.5).

        Args:
            path: the stream; an unknown one reads as empty.
            offset: ``-1`` for the beginning, ``now`` for the head without batches, or an offset returned before.
            limit: batches per page; default 100, at most 1 000; zero and less mean the default.

        Raises:
            ConversationStreamStoreError: the offset lies beyond the head, or a stored batch is damaged.
            InvalidInputError: not an offset.
        """
        self.check_path("read", path)
        return reading.read(self._scope, path, offset, limit)

    def subscribe(self, path: str, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` after each append of this process to ``path``; the returned function ends that (spec/streams.md §3.7).

        The listener runs on the appending thread before ``append`` returns, or right after the commit of a unit or bound session. What
        it raises is logged. To wait for other processes too, use ``follow``.
        """
        return self._scope.signals.subscribe(stream_topic(path), listener)

    # -- checkpoints ------------------------------------------------------------------------------------------------------------

    def put_checkpoint(self, path: str, checkpoint: FoldCheckpoint) -> None:
        """Replace the checkpoint of ``path``. Not for a database that a Node server shares: it reads and writes this very slot."""
        self.check_path("put_fold_checkpoint", path)
        checkpoints.put_checkpoint(self._scope, path, checkpoint)

    def get_checkpoint(self, path: str, *, at_or_before: str | None = None) -> FoldCheckpoint | None:
        """The checkpoint of ``path``; None if there is none, or only one after the offset ``at_or_before``."""
        self.check_path("get_fold_checkpoint", path)
        return checkpoints.get_checkpoint(self._scope, path, at_or_before)

    # -- parts ------------------------------------------------------------------------------------------------------------------

    def _create_in_one(self, executor: Executor, row: dict[str, Any]) -> str | None:
        statement = statements.CREATE_IN_ONE(self._scope.dialect)
        parameters = {"of_path": row["path"], "of_identity": row["identity_json"], "of_incarnation": row["incarnation"]}
        return executor.execute(statement, parameters).scalar()

    def _create(self, executor: Executor, row: dict[str, Any]) -> str | None:
        executor.execute(statements.CREATE(self._scope.dialect), row)
        return executor.execute(statements.LOCKED_IDENTITY, {"of_path": row["path"]}).scalar()

    def check_path(self, operation: str, path: str) -> None:
        """Refuse a path that no stream of this database can have; sends nothing.

        Raises:
            InvalidInputError, ConversationStreamStoreError: as every method, with ``operation`` named in it.
        """
        require_storable(path, "path")
        if self._scope.dialect.path_too_long(path):
            raise ConversationStreamStoreError(operation, path, "Stream path exceeds the supported 255-character limit.")
        self._scope.dialect.check_key("path", path)


def _acquire(executor: Executor, parameters: dict[str, Any]) -> sa.Row[Any] | None:
    if executor.execute(statements.ACQUIRE, parameters).rowcount != 1:
        return None
    return executor.execute(statements.META, {"of_path": parameters["of_path"]}).first()
