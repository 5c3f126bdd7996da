"""What an application calls around the stores: accept work, make its conversation ready, wait for its outcome.

Everything here is synchronous code over one scope; ``AsyncFlue`` awaits it.
"""

from __future__ import annotations

from flue_sqla.admission.dispatching import admit
from flue_sqla.admission.materializing import Materializer
from flue_sqla.admission.outcomes import outcome_of

__all__ = ["Materializer", "admit", "outcome_of"]
