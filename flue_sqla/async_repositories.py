"""The repositories, awaited. Each name is the synchronous method itself behind the bridge."""

from __future__ import annotations

from collections.abc import Callable

from flue_sqla.awaited import AsyncRepository, awaited
from flue_sqla.repositories.attachments import Attachments
from flue_sqla.repositories.conversations import Conversations
from flue_sqla.repositories.journals import Journals
from flue_sqla.repositories.submissions import Submissions

__all__ = ["AsyncAttachments", "AsyncConversations", "AsyncJournals", "AsyncSubmissions"]


class AsyncSubmissions(AsyncRepository[Submissions]):
    """:class:`~flue_sqla.repositories.submissions.Submissions`, awaited."""

    get = awaited(Submissions.get)
    has_unsettled = awaited(Submissions.has_unsettled)
    list_runnable = awaited(Submissions.list_runnable)
    list_unready = awaited(Submissions.list_unready)
    list_running = awaited(Submissions.list_running)
    list_expired = awaited(Submissions.list_expired)
    list_pending_settlements = awaited(Submissions.list_pending_settlements)
    list_joined = awaited(Submissions.list_joined)
    admit_dispatch = awaited(Submissions.admit_dispatch)
    admit_direct = awaited(Submissions.admit_direct)
    mark_ready = awaited(Submissions.mark_ready)
    claim = awaited(Submissions.claim)
    claim_next = awaited(Submissions.claim_next)
    mark_input_applied = awaited(Submissions.mark_input_applied)
    request_abort = awaited(Submissions.request_abort)
    requeue = awaited(Submissions.requeue)
    release = awaited(Submissions.release)
    replace_attempt = awaited(Submissions.replace_attempt)
    reserve_settlement = awaited(Submissions.reserve_settlement)
    finalize_settlement = awaited(Submissions.finalize_settlement)
    complete = awaited(Submissions.complete)
    fail = awaited(Submissions.fail)
    settle_queued = awaited(Submissions.settle_queued)
    claim_joinable = awaited(Submissions.claim_joinable)
    finalize_join = awaited(Submissions.finalize_join)
    finalize_joins = awaited(Submissions.finalize_joins)
    revert_join = awaited(Submissions.revert_join)
    repair_joins = awaited(Submissions.repair_joins)
    renew_leases = awaited(Submissions.renew_leases)
    holdings = awaited(Submissions.holdings)
    settled_row = awaited(Submissions.settled_row)
    has_receipt = awaited(Submissions.has_receipt)


class AsyncConversations(AsyncRepository[Conversations]):
    """:class:`~flue_sqla.repositories.conversations.Conversations`, awaited; ``subscribe`` stays a plain call."""

    create = awaited(Conversations.create)
    acquire_producer = awaited(Conversations.acquire_producer)
    append = awaited(Conversations.append)
    read = awaited(Conversations.read)
    get_meta = awaited(Conversations.get_meta)
    list_paths = awaited(Conversations.list_paths)
    put_checkpoint = awaited(Conversations.put_checkpoint)
    get_checkpoint = awaited(Conversations.get_checkpoint)

    def subscribe(self, path: str, listener: Callable[[], None]) -> Callable[[], None]:
        """As :meth:`Conversations.subscribe <flue_sqla.repositories.conversations.Conversations.subscribe>`."""
        return self.sync.subscribe(path, listener)


class AsyncAttachments(AsyncRepository[Attachments]):
    """:class:`~flue_sqla.repositories.attachments.Attachments`, awaited."""

    put = awaited(Attachments.put)
    get = awaited(Attachments.get)


class AsyncJournals(AsyncRepository[Journals]):
    """:class:`~flue_sqla.repositories.journals.Journals`, awaited."""

    get = awaited(Journals.get)
    begin = awaited(Journals.begin)
    update_phase = awaited(Journals.update_phase)
    commit = awaited(Journals.commit)
    mark_stream_consumed = awaited(Journals.mark_stream_consumed)
    replace_attempt = awaited(Journals.replace_attempt)
    append_segment = awaited(Journals.append_segment)
    segments = awaited(Journals.segments)
    delete_segments = awaited(Journals.delete_segments)
    insert_marker = awaited(Journals.insert_marker)
    delete_marker = awaited(Journals.delete_marker)
    list_markers = awaited(Journals.list_markers)
