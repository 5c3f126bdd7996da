"""The part of a statement that tells other processes about it when it commits."""

from __future__ import annotations

import sqlalchemy as sa

from flue_sqla.repositories.scope import Scope
from flue_sqla.signals import topic_payload

__all__ = ["notification", "notification_of", "notifies"]


def notifies(scope: Scope) -> bool:
    """Whether statements carry a notification: the database can, and the settings let it."""
    return scope.dialect.notifications and scope.signals.notify


def notification(payload: str = "payload") -> sa.ColumnElement[str]:
    """A result column that sends the notification named by the parameters ``channel`` and ``payload``; no trip of its own."""
    # A cast, since not every driver can read a result of type void.
    return sa.cast(sa.func.pg_notify(sa.bindparam("channel"), sa.bindparam(payload)), sa.Text()).label(payload)


def notification_of(scope: Scope, topic: str, payload: str = "payload") -> dict[str, str]:
    """The parameters of :func:`notification` for ``topic``."""
    return {"channel": scope.signals.channel, payload: topic_payload(topic)}
