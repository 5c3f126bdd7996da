"""``Flue``: the engine, the settings, boot, the repositories, units of work."""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, scoped_session

from flue_sqla.admission import Materializer, admit, outcome_of
from flue_sqla.artifacts import Artifacts, AttachmentOffload, StoreOptions, Stores
from flue_sqla.clock import Clock, SystemClock
from flue_sqla.commit_hooks import on_commit
from flue_sqla.dialects import DialectImpl, implementation
from flue_sqla.dialects.engines import create_engine
from flue_sqla.errors import ConfigurationError, FlueError, WaitTimeoutError
from flue_sqla.listening import Listening
from flue_sqla.listening.conversations import LiveConversations
from flue_sqla.listening.events import LiveEvents
from flue_sqla.maintenance import Maintenance
from flue_sqla.records.outcome import DispatchReceipt, Outcome
from flue_sqla.records.submission import Submission
from flue_sqla.records.unset import UNSET, UnsetType
from flue_sqla.repositories.attachments import Attachments
from flue_sqla.repositories.conversations import Conversations
from flue_sqla.repositories.events import Events
from flue_sqla.repositories.journals import Journals
from flue_sqla.repositories.runs import Runs
from flue_sqla.repositories.scope import Scope
from flue_sqla.repositories.sessions import Sessions
from flue_sqla.repositories.submissions import Submissions
from flue_sqla.settings import FlueSettings
from flue_sqla.signals import Signals, settled_topic
from flue_sqla.transactions import EngineScope, TransactionScope, typed

if TYPE_CHECKING:
    from flue_sqla.schema.verdict import Verdict

__all__ = ["Flue", "Repositories", "Unit"]

log = logging.getLogger("flue_sqla")


class Repositories:
    """The repositories over one scope: a transaction per call, or all in one."""

    def __init__(self, scope: Scope, settings: FlueSettings, stores: Stores, own: Scope) -> None:
        self._scope = scope
        self._stores = stores
        # What follows a commit (removing an artifact's bytes) runs in transactions of our own.
        self._own = own
        self._offload = AttachmentOffload(own, stores, settings.offload_attachments_above)

    @cached_property
    def submissions(self) -> Submissions:
        """Accepted prompts and dispatches, from admission to outcome."""
        return Submissions(self._scope)

    @cached_property
    def conversations(self) -> Conversations:
        """Conversation streams with fenced producers."""
        return Conversations(self._scope)

    @cached_property
    def attachments(self) -> Attachments:
        """Immutable attachments of conversations."""
        return Attachments(self._scope, self._offload)

    @cached_property
    def sessions(self) -> Sessions:
        """Session documents of messages and compactions."""
        return Sessions(self._scope)

    @cached_property
    def journals(self) -> Journals:
        """Turn journals, buffered stream segments and attempt markers."""
        return Journals(self._scope)

    @cached_property
    def runs(self) -> Runs:
        """Workflow runs and their index."""
        return Runs(self._scope)

    @cached_property
    def events(self) -> Events:
        """Event streams of workflow runs."""
        return Events(self._scope)

    @cached_property
    def artifacts(self) -> Artifacts:
        """Files of any size in the artifact store."""
        return Artifacts(self._scope, self._stores, self._own)

    def dispatch(
        self,
        agent: str,
        *,
        id: str,
        message: str | Mapping[str, Any],
        idempotency_key: str | None = None,
        initial_data: Any = UNSET,
        uid: str | UnsetType | None = UNSET,
    ) -> DispatchReceipt:
        """Accept work for the instance ``id`` of ``agent``; a worker of any process runs it (docs/worker.md).

        On a unit or bound session it is accepted with that transaction, and a worker makes its conversation ready after the commit.

        Args:
            message: the text of a user message, or a user or signal message of spec/submissions.md §3.2.
            idempotency_key: the same key, instance and message again is the same submission, whatever became of it meanwhile.
            initial_data: any JSON that the instance is born with; only the first submission's counts.
            uid: accept only for the incarnation of the instance whose birth record has this uid; None: only if there is no instance yet,
                that is before its first submission is ready. Looked at before the admission, and locks nothing, as in Flue
                (``spec/lifecycle.md §3``); a retry with its key is answered all the same.

        Raises:
            SubmissionConflictError: the key was used before with another message or other initial data.
            InvalidInputError: the message cannot be stored or could never run; no statement was sent.
            ConversationStreamStoreError: on MySQL and MariaDB, agent and id make too long a path; no statement was sent.
            SessionDeletionError: the session is being deleted.
            AgentInstanceMissingError, AgentInstanceExistsError: ``uid`` does not hold; nothing was accepted.
        """
        admitted = admit(
            self.submissions,
            self.conversations,
            self._scope.clock,
            agent,
            id=id,
            message=message,
            idempotency_key=idempotency_key,
            initial_data=initial_data,
            uid=uid,
        )
        if admitted.submission is not None:
            self._admitted(admitted.submission)
        return admitted.receipt

    def _admitted(self, submission: Submission) -> None:
        """What follows an admission, where something can: not inside a transaction that is still open."""


class Unit(Repositories):
    """Several calls in one transaction: ours (``flue.begin()``) or the host's (``flue.bind(session)``)."""


class Flue(Maintenance, Repositories):
    """Durable agent state in one database.

    Args:
        url: a database URL; with no ``url`` and no ``engine``, the one in ``settings``.
        engine: the host's engine, used as it is and never disposed.
        artifacts: URL or folder of the artifact store; default from ``settings``.
        schema: the database schema of all our tables; default the connection's own.
        settings: everything else; the environment is read only by :meth:`from_settings`.
        clock: the source of time, epoch ms.

    Each call on a repository is one transaction of its own. Safe for many threads.
    """

    def __init__(
        self,
        url: str | sa.URL | None = None,
        *,
        engine: sa.Engine | None = None,
        artifacts: str | None = None,
        schema: str | None = None,
        settings: FlueSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        if engine is not None and not isinstance(engine, sa.Engine):
            raise ConfigurationError(
                f"A Flue needs an Engine, found {type(engine).__name__}.", remedy="Give an AsyncEngine to flue_sqla.asyncio.AsyncFlue."
            )
        if url is not None and engine is not None:
            raise ConfigurationError("Both a URL and an engine were given.", remedy="Give one of them.")
        settings = settings or FlueSettings()
        if artifacts is not None:
            settings = settings.model_copy(update={"artifacts": artifacts})
        self.settings = settings
        self.schema = schema if schema is not None else settings.schema_name
        self.engine = engine if engine is not None else create_engine(url if url is not None else settings.database_url)
        self._owns_engine = engine is None
        self.signals = Signals(self.schema, notify=settings.notify)
        scope = EngineScope(self.engine, implementation(self.engine.dialect), clock or SystemClock(), self.signals, self.schema)
        super().__init__(scope, settings, Stores(lambda: StoreOptions.from_settings(settings)), scope)
        self._engine_scope = scope
        #: Where threads wait for what others do: ``with flue.listener.waiter(topic) as waiter: waiter.wait()``.
        self.listener = Listening(
            self.engine, scope.dialect, self.signals, poll_interval_ms=settings.poll_interval_ms, listen_url=settings.listen_url
        )
        if self._owns_engine:
            _forget_connections_after_fork(self.engine)

    @classmethod
    def from_settings(cls, settings: FlueSettings | None = None) -> Self:
        """A Flue configured by the environment (``DATABASE_URL``, ``FLUE_…``), or by ``settings``."""
        return cls(settings=settings or FlueSettings.from_env())

    @property
    def clock(self) -> Clock:
        """Where this Flue's time comes from."""
        return self._scope.clock

    @property
    def dialect(self) -> DialectImpl:
        """What this database can do."""
        return self._scope.dialect

    @cached_property
    def conversations(self) -> LiveConversations:
        """Conversation streams with fenced producers."""
        return LiveConversations(self._scope, self.listener)

    @cached_property
    def events(self) -> LiveEvents:
        """Event streams of workflow runs."""
        return LiveEvents(self._scope, self.listener)

    @cached_property
    def materializer(self) -> Materializer:
        """Makes what was admitted ready to run; for workers and admissions."""
        return Materializer(self, self.begin, self.clock)

    def _admitted(self, submission: Submission) -> None:
        if submission.status != "queued" or submission.canonical_ready_at is not None:
            return
        try:
            self.materializer(submission)
        except FlueError as error:
            # It is accepted all the same: any worker makes it ready later, or settles it with the reason (spec/lifecycle.md §3, §5.2).
            log.warning("Submission %s was accepted, and is not ready yet: %s", submission.submission_id, error)

    def wait(self, submission_id: str, timeout: float | None = None) -> Outcome:
        """Wait until a submission is settled, in whatever process.

        Args:
            timeout: at most so many seconds; None waits for ever.

        Raises:
            WaitTimeoutError: it was not settled in time (also a ``TimeoutError``).
            SubmissionMissingError: there is no such submission.
            ReceiptRetainedError: it is over, and its row was pruned.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self.listener.waiter(settled_topic(submission_id)) as waiter:
            while True:
                outcome = outcome_of(self.submissions, self.conversations, submission_id)
                if outcome is not None:
                    return outcome
                left = None if deadline is None else deadline - time.monotonic()
                if waiter.ended or (left is not None and left <= 0):
                    raise not_settled(submission_id, timeout)
                waiter.wait(left)

    def boot(self) -> Verdict:
        """Judge the database and act by ``settings.migrate``; every call judges afresh.

        Returns:
            The verdict after the action: current, or ahead but compatible. With mode ``off`` the verdict is not asked for.

        Raises:
            PersistedFormatVersionError, SchemaVersionError: the database is not one that this release may use; nothing was changed.
            MigrationLockTimeout: another process is migrating and did not end in time.
            DatabaseUnavailableError: no connection.
        """
        from flue_sqla.schema.boot import boot

        return boot(
            self.engine,
            mode=self.settings.migrate,
            schema=self.schema,
            version_table=self.settings.version_table,
            version_table_schema=self.settings.version_table_schema,
            lock_timeout_ms=self.settings.lock_timeout_ms,
        )

    @contextmanager
    def begin(self) -> Iterator[Unit]:
        """A unit of work: what is called on it is committed together at the end of the block, or not at all.

        Nothing is retried inside.

        Raises:
            SerializationConflict: another transaction was faster; run the whole block again.
            OutcomeUnknown: the connection broke at the commit.
        """
        scope = self._engine_scope
        callbacks: list[Callable[[], None]] = []
        with scope.open(**scope.write_options()) as connection:
            transaction = _begun(connection, scope.dialect)
            unit_scope = self._transaction_scope(connection, callbacks.append)
            try:
                unit_scope.write(lambda _executor: None)
                yield self._unit(unit_scope)
            except BaseException:
                with suppress(DBAPIError):  # of a broken connection; what happened in the block says more
                    transaction.rollback()
                raise
            finally:
                unit_scope.end()
            try:
                transaction.commit()
            except DBAPIError as error:
                raise typed(error, scope.dialect) from error
        for callback in callbacks:
            callback()

    def bind(self, target: Session | scoped_session[Any] | sa.Connection) -> Unit:
        """Join the host's transaction: we never commit, roll back or close ``target``.

        PostgreSQL: made for READ COMMITTED; under REPEATABLE READ and SERIALIZABLE a concurrent change raises
        :class:`~flue_sqla.errors.SerializationConflict`, on which the host rolls back and tries again. An admission holds its
        session's lock until the host's commit; admit into several sessions in sorted order. Under those two levels it does not see
        the deletion of a session that began after the host's first statement, and counts as accepted before it. SQLite: a transaction
        that read before it writes may raise the same error.
        """
        session = target() if isinstance(target, scoped_session) else target
        if not isinstance(session, Session | sa.Connection):
            raise ConfigurationError(
                f"A Flue binds a Session or a Connection, found {type(session).__name__}.",
                remedy="Bind an AsyncSession with AsyncFlue; open a session or connection on an engine first.",
            )
        return self._unit(self._transaction_scope(session, lambda callback: on_commit(session, callback)))

    def close(self) -> None:
        """End all waiting, and dispose what this Flue created itself. It may be used again: connections are opened anew."""
        self.listener.close()
        self._stores.close()
        if self._owns_engine:
            self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.engine.url.render_as_string(hide_password=True)}>"

    def _transaction_scope(self, target: Session | sa.Connection, register: Callable[[Callable[[], None]], None]) -> TransactionScope:
        return TransactionScope(target, self._scope.dialect, self.clock, self.signals, self.schema, on_commit=register)

    def _unit(self, scope: TransactionScope) -> Unit:
        return Unit(scope, self.settings, self._stores, self._own)


def _begun(connection: sa.Connection, dialect: DialectImpl) -> sa.RootTransaction:
    try:
        return connection.begin()
    except DBAPIError as error:  # SQLite takes its write lock here
        raise typed(error, dialect) from error


def not_settled(submission_id: str, timeout: float | None) -> WaitTimeoutError:
    """The error of a wait that ended without an outcome."""
    reason = "this Flue was closed" if timeout is None else f"{timeout:g} s have passed"
    return WaitTimeoutError(f"Submission {submission_id} is not settled, and {reason}.", meta={"submissionId": submission_id})


def _forget_connections_after_fork(engine: sa.Engine) -> None:
    reference = weakref.ref(engine)

    def forget() -> None:
        inherited = reference()
        if inherited is not None:
            # The sockets belong to the parent: closing one would end its session on the server.
            inherited.dispose(close=False)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget)
