"""For tests of systems under faults: the pytest plugin's fixtures, and what tests import.

The three ways to end that a test tells apart: the fault did not take (``FaultDidNotTake``) or remained
(``FaultRemained``); the system failed its check (the test's own assertion, or ``recovers``); the environment cannot do
it (the test is skipped with the reason, or fails under ``--trogdor-require``).
"""

from trogdor.testing.disks import Disk
from trogdor.testing.faults import CheckFailed, Faults
from trogdor.testing.injection import FaultDidNotTake, FaultRemained, Injection, Sighting
from trogdor.testing.recovery import DidNotRecover, recovers

__all__ = [
    "CheckFailed", "DidNotRecover", "Disk", "FaultDidNotTake", "FaultRemained", "Faults", "Injection", "Sighting",
    "recovers",
]  # fmt: skip
