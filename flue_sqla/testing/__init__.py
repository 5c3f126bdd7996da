"""What a test of flue_sqla, or of an implementation of its contract, needs.

* :class:`ManualClock`, a clock moved by hand.
* :class:`Stores`, the one object that the conformance suite works with, over ``Flue``, ``AsyncFlue`` or the reference model.
* ``flue_sqla.testing.contracts``, the suite as base classes; ``flue_sqla.testing.plugin``, the suite as a pytest plugin.
* ``flue_sqla.testing.model``, the in-memory reference model; ``flue_sqla.testing.machine``, the Hypothesis state machine.

Importing this package needs neither pytest nor Hypothesis.
"""

from __future__ import annotations

from flue_sqla.testing.clock import ManualClock
from flue_sqla.testing.stores import Outcome, Stores

__all__ = ["ManualClock", "Outcome", "Stores"]
