"""The submission contract: spec/conformance.md §1 and its X items, each test named after its item."""

from __future__ import annotations

from flue_sqla.testing.contracts.submissions.aborts import AbortContract, SettleQueuedContract
from flue_sqla.testing.contracts.submissions.admission import AdmissionContract, ReadinessContract, ReplayContract
from flue_sqla.testing.contracts.submissions.claiming import ClaimContract, ClaimNextContract, OrderingContract
from flue_sqla.testing.contracts.submissions.concurrency import RaceContract, UncommittedAdmissionContract
from flue_sqla.testing.contracts.submissions.joins import ClaimJoinableContract, FanOutContract, JoinGateContract
from flue_sqla.testing.contracts.submissions.malformed import MalformedRowContract
from flue_sqla.testing.contracts.submissions.settlement import FinalizeContract, ReserveGateContract, SettlementContract
from flue_sqla.testing.contracts.submissions.transitions import (
    DurabilityContract,
    EmptyStoreContract,
    LeaseContract,
    ReplacementContract,
    TransitionContract,
)

__all__ = ["SubmissionContract"]


class SubmissionContract(
    AdmissionContract,
    ReadinessContract,
    ReplayContract,
    OrderingContract,
    ClaimContract,
    ClaimNextContract,
    TransitionContract,
    AbortContract,
    SettleQueuedContract,
    SettlementContract,
    ReserveGateContract,
    FinalizeContract,
    DurabilityContract,
    ReplacementContract,
    LeaseContract,
    ClaimJoinableContract,
    JoinGateContract,
    FanOutContract,
    EmptyStoreContract,
    MalformedRowContract,
    RaceContract,
    UncommittedAdmissionContract,
):
    """Every behaviour of a submission store. Subclass it in a test module and provide the fixture ``stores``."""
