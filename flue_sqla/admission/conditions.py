"""The send condition of an admission: which incarnation of its instance a message is meant for (spec/lifecycle.md §3, step 3)."""

from __future__ import annotations

from typing import Any

from flue_sqla.admission.births import root_birth
from flue_sqla.errors import AgentInstanceExistsError, AgentInstanceMissingError, FlueError, InvalidInputError
from flue_sqla.records.unset import UNSET, UnsetType
from flue_sqla.repositories.conversations import Conversations
from flue_sqla.wire import require_storable, stream_path

__all__ = ["check_condition", "refused"]


def check_condition(uid: str | UnsetType | None, initial_data: Any) -> None:
    """Refuse a condition that can never hold.

    Raises:
        InvalidInputError: no text, or one together with initial data, which only a new instance takes.
    """
    if uid is UNSET or uid is None:
        return
    require_storable(uid, "uid")
    if initial_data is not UNSET:
        raise InvalidInputError(
            "A uid names an instance that exists, and initial data is for one that is new.",
            meta={"field": "uid"},
            remedy="Leave one of the two out.",
        )


def refused(conversations: Conversations, agent: str, instance_id: str, uid: str | UnsetType | None) -> FlueError | None:
    """What an admission under this condition is refused with; None where the condition holds, or none was given."""
    if uid is UNSET:
        return None
    birth = root_birth(conversations, stream_path(agent, instance_id))
    meta = {"agent": agent, "id": instance_id}
    if uid is None:
        return None if birth is None else AgentInstanceExistsError(f"The instance {instance_id!r} of {agent} exists already.", meta=meta)
    if birth is not None and birth.get("uid") == uid:
        return None
    what = "does not exist" if birth is None else f"is not the one with the uid {uid!r}"
    return AgentInstanceMissingError(f"The instance {instance_id!r} of {agent} {what}.", meta={**meta, "uid": uid})
