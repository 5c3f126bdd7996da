"""``conversation_created`` and ``child_session_retained`` (spec/streams.md §7.2, §7.10)."""

from __future__ import annotations

import re

from flue_sqla.conversation.graph import Conversation, StreamGraph
from flue_sqla.conversation.records import Record, optional_text, text, violation
from flue_sqla.wire import canonical_json

_ULID = "[0-9A-HJKMNP-TV-Z]{26}"
_TASK_ID = re.compile(f"task_{_ULID}")
_INVOCATION_ID = re.compile(f"inv_{_ULID}")
_CHILD_FIELDS = ("parentConversationId", "taskId", "actionInvocationId", "agent")


def conversation_created(graph: StreamGraph, record: Record) -> None:
    """Add the conversation."""
    conversation_id = text(record, "conversationId", 2)
    harness, session = text(record, "harness", 2), text(record, "session", 2)
    if conversation_id in graph.conversations:
        raise violation(record, 2, f"conversation {conversation_id} was created before")
    holder = graph.sessions.get((harness, session))
    if holder is not None:
        raise violation(record, 2, f"harness {harness} and session {session} already belong to conversation {holder}")
    kind = record.get("kind")
    if kind == "root":
        conversation = _root(graph, record, Conversation(conversation_id, "root", harness, session))
    elif kind == "task":
        conversation = _task(graph, record, Conversation(conversation_id, "task", harness, session))
    elif kind == "action":
        conversation = _action(graph, record, Conversation(conversation_id, "action", harness, session))
    else:
        raise violation(record, 2, "kind must be root, task or action")
    graph.journal.put(graph.conversations, conversation_id, conversation)
    graph.journal.put(graph.sessions, (harness, session), conversation_id)


def _root(graph: StreamGraph, record: Record, conversation: Conversation) -> Conversation:
    for field in _CHILD_FIELDS:
        if field in record:
            raise violation(record, 2, f"a root conversation has no {field}")
    uid = optional_text(record, "uid", 2)
    if not graph.has_root:
        graph.journal.set(graph, "has_root", True)
        graph.journal.set(graph, "initial_data", record.get("initialData"))
    if uid is not None:
        graph.journal.set(graph, "uid", uid)
    return conversation


def _task(graph: StreamGraph, record: Record, conversation: Conversation) -> Conversation:
    parent = _parent(graph, record)
    task_id = text(record, "taskId", 2)
    if not _TASK_ID.fullmatch(task_id):
        raise violation(record, 2, "taskId must be task_ and a ULID")
    if conversation.harness != parent.harness:
        raise violation(record, 2, f"a task has its parent's harness {parent.harness}")
    expected = f"task:{parent.session}:{task_id}"
    if conversation.session != expected:
        raise violation(record, 2, f"the session of this task must be {expected}")
    conversation.parent_id, conversation.child_id = parent.id, task_id
    return conversation


def _action(graph: StreamGraph, record: Record, conversation: Conversation) -> Conversation:
    parent = _parent(graph, record)
    invocation_id = text(record, "actionInvocationId", 2)
    if not _INVOCATION_ID.fullmatch(invocation_id):
        raise violation(record, 2, "actionInvocationId must be inv_ and a ULID")
    expected = f"{parent.harness}:action:{invocation_id}"
    if conversation.harness != expected:
        raise violation(record, 2, f"the harness of this action must be {expected}")
    if conversation.session.startswith(("task:", "action:")):
        raise violation(record, 2, "the session of an action must not begin with task: or action:")
    conversation.parent_id, conversation.child_id = parent.id, invocation_id
    return conversation


def _parent(graph: StreamGraph, record: Record) -> Conversation:
    parent_id = text(record, "parentConversationId", 2)
    parent = graph.conversations.get(parent_id)
    if parent is None:
        raise violation(record, 2, f"parent conversation {parent_id} does not exist")
    return parent


def child_session_retained(graph: StreamGraph, record: Record, conversation: Conversation) -> None:
    """Remember that the conversation keeps its child."""
    child = record.get("child")
    if not isinstance(child, dict):
        raise violation(record, 10, "child must be an object")
    created = graph.conversations.get(str(child.get("conversationId")))
    if created is None:
        raise violation(record, 10, f"child conversation {child.get('conversationId')} does not exist")
    if created.parent_id != conversation.id:
        raise violation(record, 10, f"conversation {created.id} is a child of {created.parent_id}, not of {conversation.id}")
    child_id = child.get("taskId") if created.kind == "task" else child.get("invocationId")
    if (child.get("type"), child.get("harness"), child.get("session"), child_id) != (
        created.kind,
        created.harness,
        created.session,
        created.child_id,
    ):
        raise violation(record, 10, f"the identity given is not that of conversation {created.id}")
    content = canonical_json(child)
    if conversation.retained.get(created.id, content) != content:
        raise violation(record, 10, f"conversation {created.id} was retained before with other content")
    graph.journal.put(conversation.retained, created.id, content)
