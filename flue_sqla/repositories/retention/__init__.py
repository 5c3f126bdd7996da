"""Retention: what is settled, ended or expired may go."""

from __future__ import annotations

from flue_sqla.repositories.retention.prune import Retention

__all__ = ["Retention"]
