"""Conversation streams: an append-only sequence of record batches per agent instance (spec/streams.md part A)."""

from flue_sqla.repositories.conversations.store import Conversations

__all__ = ["Conversations"]
