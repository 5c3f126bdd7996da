"""The conversation stream contract: spec/conformance.md §2 and its X items."""

from __future__ import annotations

from flue_sqla.testing.contracts.conversations.authorization import AuthorizationContract
from flue_sqla.testing.contracts.conversations.producers import AppendCheckContract, BatchContract, CreationContract
from flue_sqla.testing.contracts.conversations.reading import CheckpointContract, ReadContract, SubscriptionContract
from flue_sqla.testing.contracts.conversations.spill import SpillContract

__all__ = ["ConversationContract", "SpillContract"]


class ConversationContract(
    CreationContract,
    BatchContract,
    AppendCheckContract,
    AuthorizationContract,
    ReadContract,
    SubscriptionContract,
    CheckpointContract,
):
    """Every behaviour of a conversation stream store. ``stores.submissions`` must share its database."""
