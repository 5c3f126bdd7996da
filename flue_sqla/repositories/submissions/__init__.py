"""Accepted prompts and dispatches, from admission to outcome (spec/submissions.md part A)."""

from __future__ import annotations

from flue_sqla.repositories.submissions.admission import AdmissionPart
from flue_sqla.repositories.submissions.claim_next import ClaimNextPart
from flue_sqla.repositories.submissions.joins import JoinPart
from flue_sqla.repositories.submissions.ownership import LEASE_MS, OwnershipPart
from flue_sqla.repositories.submissions.queries import Queries
from flue_sqla.repositories.submissions.settlement import SettlementPart
from flue_sqla.repositories.submissions.watching import WatchingPart

__all__ = ["LEASE_MS", "Submissions"]


class Submissions(AdmissionPart, Queries, ClaimNextPart, OwnershipPart, JoinPart, SettlementPart, WatchingPart):
    """The submission store. Every transition is a compare-and-set; each method is one transaction of its own, or part of the unit's."""
