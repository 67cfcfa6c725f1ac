"""A kind of resource: what a claim is about, how it is looked at, and the one call that makes it what claims add up to.

Standard library only. A resource's module imports nothing heavy either: the warden loads it after the agent's death.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from trogdor.claim.model import Claim, Json, Net, Trouble
from trogdor.claim.place import Place


class Resource(ABC):
    """All things of one kind on one node.

    The value of each thing is a pure fold of the claims in force on it over the value it had before the first:
    ``fold(base, wants)``. Firing, ending, stopping, overlapping and recovering after a crash are all ``apply`` with
    other claims.
    """

    kind: ClassVar[str]
    nets: ClassVar[frozenset[Net]] = frozenset({Net.WARDEN, Net.REPLAY})
    """What undoes it when its agent dies or hangs; the table in docs/faults.md is made from this."""
    undone_by: ClassVar[str] = ""
    """One sentence for the docs: how each of these nets does it."""
    scope: ClassVar[str] = ""
    """The namespace that its value goes away with: ``net`` or ``pid``; empty: none."""
    leaves_prepared: ClassVar[bool] = False
    """Whether what ``prepare`` makes outlives its process: it is in the journal until ``discard`` has returned."""
    outlives_boot: ClassVar[bool] = False
    """Whether its value is still there after a reboot, and has to be put back then."""

    def __init__(self, place: Place, node: str) -> None:
        self.place = place
        self.node = node

    def base(self, key: str) -> Json:
        """The value to go back to. Fast; called before the first claim on ``key`` and again before it is fired."""
        return None

    def prepare(self, claims: Sequence[Claim]) -> None:  # noqa: B027 — most kinds have nothing to prepare
        """Everything slow that ``apply`` will need; the node notices nothing. Raises CannotInject."""

    def discard(self, claims: Sequence[Claim]) -> None:  # noqa: B027
        """Takes away what ``prepare`` made for these, after they were undone or were never fired; without
        claims, whatever of it another process has left. Raises OSError."""

    @abstractmethod
    def apply(self, claims: Sequence[Claim], bases: Mapping[str, Json], now_ns: int) -> Mapping[str, Trouble]:
        """Makes each key of ``bases`` the fold of ``claims``, all that are in force on this kind; fast.

        Answers what is not so, by key. Raises OSError when nothing was changed.
        """

    @staticmethod
    @abstractmethod
    def fold(base: Json, wants: Sequence[Json]) -> Json:
        """What ``observe`` should show of a thing with this base while these wants hold. Pure."""

    @abstractmethod
    def observe(self, key: str) -> Json:
        """The thing's value now, read anew from the node; ``apply``'s own memory is not believed. None: it is gone."""

    def kernel_end_ns(self, claim: Claim) -> int | None:
        """When the kernel undoes this claim by itself, in ns of CLOCK_BOOTTIME, if it does."""
        return None

    def lost(self, claims: Sequence[Claim]) -> Mapping[str, Trouble]:
        """Which of these claims, all fired, do not hold any more, by claim id. Slow."""
        return {}

    def leftovers(self) -> Mapping[str, Json]:
        """Things of ours on the node by key → base that can be told without a journal."""
        return {}

    def commands(self, key: str, base: Json) -> Sequence[str]:
        """Plain commands that put the thing back by hand."""
        return ()

    def close(self) -> None:  # noqa: B027
        """Lets go of what it holds open."""
