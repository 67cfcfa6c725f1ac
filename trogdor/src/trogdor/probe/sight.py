"""What a probe says, and what every probe is: watches what a fault should do to a node, without knowing how it does."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

SEEN = "seen"


@dataclass(frozen=True, slots=True)
class Sight:
    """``verdict``: ``seen``, ``not seen: why`` or ``unverified: why``; when, in ns of the node's CLOCK_BOOTTIME."""

    verdict: str
    at_ns: int | None = None


class Watch(Protocol):
    """Watches one fault, from before its instant to after its end."""

    async def based(self, within_s: float) -> None:
        """Returns once it has seen how things are before the fault, or after ``within_s``; or a little later, where a
        look takes a moment, and nothing could be told without it.
        """

    async def seen(self, fired_ns: int) -> Sight:
        """Whether the fault took that was put in force at ``fired_ns``; answers 20 to 200 ms after it."""

    def looked_back(self, fired_ns: int, undone_ns: int) -> Sight:
        """As ``seen``, of a fault that is over: it ended before ``seen`` had an answer, or, asked for once more after
        ``gone``, what was seen since may tell what could not be told then.
        """

    async def broken(self) -> str:
        """Returns when, while it should hold, it does not: why."""

    async def gone(self, undone_ns: int) -> Sight:
        """Whether it is gone that was undone at ``undone_ns``: ``seen`` when, or ``unverified: why``."""

    def close(self) -> None:
        """Stops to watch."""


def not_seen(why: str) -> Sight:
    """It did not take."""
    return Sight(f"not seen: {why}")


def unverified(why: str) -> Sight:
    """Nobody could see whether it took."""
    return Sight(f"unverified: {why}")


def summed_up(sights: Iterable[Sight]) -> Sight:
    """Several sights of one fault: what was not seen counts most, then what was unverified; seen when all were."""
    found = list(sights)
    for word in ("not seen", "unverified"):
        whys = [sight.verdict.partition(": ")[2] for sight in found if sight.verdict.startswith(word)]
        if whys:
            return Sight(f"{word}: {'; '.join(dict.fromkeys(whys))}")
    return Sight(SEEN, max((sight.at_ns for sight in found if sight.at_ns is not None), default=None))
