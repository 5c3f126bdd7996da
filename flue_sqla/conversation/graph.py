"""What a stream folds to: conversations, their linear graph of entries, and what is known of each submission."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from flue_sqla.conversation.journal import Journal

Rules: TypeAlias = Literal["2.0", "2.1"]
"""Whose reader's rules apply: Flue 2.0.x, or 2.1.0 (spec/streams.md §7.5)."""

EntryKind: TypeAlias = Literal["user_message", "signal", "assistant", "tool_result", "compaction"]


@dataclass(slots=True)
class Block:
    """A content block of an assistant message in progress."""

    kind: Literal["text", "reasoning", "tool_call"]
    index: int
    deltas: int = 0
    completed: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that an assistant message asks for."""

    id: str
    name: str
    block_index: int


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """The recorded outcome of a call; its record becomes an entry when the batch is committed."""

    record_id: str
    is_error: bool
    terminate: bool


@dataclass(slots=True)
class AssistantDraft:
    """An assistant message between its started and its completed record."""

    message_id: str
    parent_id: str | None
    submission_id: str | None
    attempt_id: str | None
    blocks: dict[str, Block] = field(default_factory=dict)
    tool_calls: list[ToolCall] = field(default_factory=list)


@dataclass(slots=True)
class Entry:
    """A node of the graph. Entries of a conversation form one line; ``position`` counts from 0."""

    id: str
    kind: EntryKind
    parent_id: str | None
    position: int
    record_id: str
    submission_id: str | None
    attempt_id: str | None


@dataclass(slots=True)
class AssistantEntry(Entry):
    """A completed assistant message, with its calls in call order and what became of them."""

    stop_reason: str
    tool_calls: tuple[ToolCall, ...]
    outcomes: dict[str, ToolOutcome] = field(default_factory=dict)
    committed: bool = False

    def opens_tool_batch(self, rules: Rules) -> bool:
        """Whether only ``tool_results_committed`` may follow (spec/streams.md §7.5)."""
        if not self.tool_calls:
            return False
        return self.stop_reason == "toolUse" or (rules == "2.1" and self.stop_reason in ("stop", "length"))


@dataclass(slots=True)
class Conversation:
    """One conversation of the stream."""

    id: str
    kind: Literal["root", "task", "action"]
    harness: str
    session: str
    parent_id: str | None = None
    child_id: str | None = None
    """The ``taskId`` or ``actionInvocationId`` of a child."""
    leaf: str | None = None
    entries: dict[str, Entry] = field(default_factory=dict)
    path: list[Entry] = field(default_factory=list)
    draft: AssistantDraft | None = None
    retained: dict[str, str] = field(default_factory=dict)
    """Canonical JSON of each retained child, by its conversation id."""
    values: dict[str, Any] = field(default_factory=dict)
    """The last ``state_write`` of each name."""

    def leaf_entry(self) -> Entry | None:
        """The entry that the next one must name as its parent."""
        return self.path[-1] if self.path else None

    def open_batch(self, rules: Rules) -> AssistantEntry | None:
        """The assistant message at the leaf whose tool results are not committed; None if there is no such batch."""
        leaf = self.leaf_entry()
        return leaf if isinstance(leaf, AssistantEntry) and not leaf.committed and leaf.opens_tool_batch(rules) else None


@dataclass(slots=True)
class SubmissionTrace:
    """What the stream shows of one submission. The dictionaries are ordered sets."""

    conversation_id: str | None = None
    """The first conversation that holds an entry of it."""
    attempt_ids: dict[str, None] = field(default_factory=dict)
    answered_in: dict[str, None] = field(default_factory=dict)
    """Conversations in which an assistant message of it is complete."""
    run_started: bool = False
    """Whether ``agent_start_run`` was written for it."""
    settled: dict[str, Any] | None = None
    """Its ``submission_settled`` record."""


@dataclass(slots=True)
class StreamGraph:
    """The folded stream. Only the rules in this package change it, through ``journal``."""

    rules: Rules = "2.0"
    conversations: dict[str, Conversation] = field(default_factory=dict)
    submissions: dict[str, SubmissionTrace] = field(default_factory=dict)
    steps: dict[tuple[str, str], Any] = field(default_factory=dict)
    """Recorded values of durable steps by (toolCallId, stepName); the first one stays."""
    uid: str | None = None
    initial_data: Any = None
    has_root: bool = False
    record_digests: dict[str, bytes] = field(default_factory=dict)
    sessions: dict[tuple[str, str], str] = field(default_factory=dict)
    """Conversation ids by (harness, session)."""
    journal: Journal = field(default_factory=Journal, repr=False, compare=False)

    @property
    def root(self) -> Conversation | None:
        """The default conversation, where submissions go; None before its birth."""
        conversation_id = self.sessions.get(("default", "default"))
        return None if conversation_id is None else self.conversations[conversation_id]

    def conversation_of(self, submission_id: str) -> Conversation | None:
        """The conversation that holds an entry of the submission, else the default one (spec/lifecycle.md §8)."""
        trace = self.submissions.get(submission_id)
        if trace is None or trace.conversation_id is None:
            return self.root
        return self.conversations[trace.conversation_id]

    def trace(self, submission_id: str) -> SubmissionTrace:
        """What is known of the submission, begun if nothing was."""
        trace = self.submissions.get(submission_id)
        if trace is None:
            trace = SubmissionTrace()
            self.journal.put(self.submissions, submission_id, trace)
        return trace
