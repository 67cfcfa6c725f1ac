"""Decides from beacons whether what befalls some of them does so as often as was asked for.

Each beacon is one draw. Wald's sequential probability ratio test (Ann. Math. Statist. 16, 1945) decides between what
was asked for and a tenth of it, as soon as can be, wrong once in a million.
"""

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from trogdor.instant import NS_PER_MS, NS_PER_S
from trogdor.probe.beacons import ASK_S, DENSE_S, Arrival, Mode, Stream
from trogdor.probe.degraded import DegradedWatch
from trogdor.probe.network import AFTER_NS, BEFORE_NS, MARGIN_NS
from trogdor.probe.sight import SEEN, Sight, not_seen, unverified

CERTAIN = math.log(1e6)
SURE_ENOUGH = math.log(1e3)
"""Of its end, which is no error if it was not."""
LONGEST_NS = 20 * NS_PER_S
MOST_MISSING = 10_000
"""Numbers further apart than that are not one stream's."""


class Odds:
    """How much likelier what was drawn is by ``chance`` than by a tenth of it, as a logarithm."""

    def __init__(self, chance: float) -> None:
        chance = min(chance, 0.999)
        self.score = 0.0
        self._happens, self._does_not = math.log(10), math.log((1 - chance) / (1 - chance / 10))

    def draw(self, happened: bool) -> None:
        """One more beacon."""
        self.score += self._happens if happened else self._does_not

    @staticmethod
    def draws(chance: float, certain: float = CERTAIN) -> int:
        """How many draws tell, most of the time, that it is not so."""
        return round(2 * certain / (0.67 * chance))


def least(mode: Mode) -> float:
    """What befalls fewer beacons than this takes too many of them to tell."""
    return 2 * DENSE_S[mode]


def needed_ns(chance: float, mode: Mode, certain: float = CERTAIN) -> int:
    """How long it may take to tell."""
    return round(2 * Odds.draws(chance, certain) * DENSE_S[mode] * NS_PER_S)


def dense_until_told(term_ns: tuple[int, int], chance: float, mode: Mode) -> list[tuple[int, int]]:
    """When beacons are wanted often: until it can be told, and around the end."""
    start_ns, end_ns = term_ns
    told_ns = min(max(AFTER_NS, needed_ns(chance, mode)), LONGEST_NS)
    return [(start_ns - BEFORE_NS, start_ns + told_ns), (end_ns - BEFORE_NS // 4, end_ns + AFTER_NS)]


class Counted(ABC):
    """One link, the beacons that come over it, and what they tell of each of the ``chances`` by name."""

    again: str
    """What its beacons do when the fault is not there any more, for a verdict."""

    def __init__(self, name: str, stream: Stream, chances: Mapping[str, float], settled_ms: float) -> None:
        """``settled_ms``: a beacon that did not arrive so long before one sent later did is lost."""
        self.name = name
        self.stream = stream
        self._chances = chances
        self._settled_ns = round(settled_ms * NS_PER_MS)
        self.begin(0)

    def begin(self, since_ns: int) -> None:
        """From now on only what arrived after an instant counts."""
        self._since_ns = since_ns
        self._last: int | None = None
        self.first_ns: int | None = None
        """When the first beacon arrived that counts."""
        self.odds = {what: Odds(chance) for what, chance in self._chances.items()}

    def count(self, until_ns: int) -> None:
        """Takes in every beacon whose fate is known at an instant."""
        arrivals = self.stream.after(self._since_ns)
        settled = [arrival.number for arrival in arrivals if arrival.at_ns <= until_ns - self._settled_ns]
        if not settled:
            return
        if self._last is None:  # that it arrived is why we count from here: it is no draw itself
            self._last, self.first_ns = min(arrival.number for arrival in arrivals), arrivals[0].at_ns
        top = max(settled)
        if top - self._last <= MOST_MISSING:
            self.take(arrivals, range(self._last + 1, top + 1))
        self._last = max(self._last, top)

    @abstractmethod
    def take(self, arrivals: Sequence[Arrival], numbers: range) -> None:
        """Draws for each of these beacons, by what has arrived, in the order in which it did."""

    @abstractmethod
    def said(self) -> str:
        """What was counted, for a verdict."""

    def scores(self) -> list[float]:
        """Of each chance."""
        return [odds.score for odds in self.odds.values()]

    def end_ns(self) -> int:
        """How long it may take to tell that it is over."""
        rarest = min(self._chances.values())
        return self._settled_ns + min(needed_ns(rarest, self.stream.mode, SURE_ENOUGH), LONGEST_NS)


class OddsWatch(DegradedWatch[Counted]):
    """Watches what one fault does to some of the beacons; it takes the longer to tell the rarer they are."""

    async def _seen(self, link: Counted, fired_ns: int) -> Sight:
        link.begin(fired_ns + MARGIN_NS)
        deadline_ns = self._clock.boot_ns() + LONGEST_NS
        while (sight := self._judge(link, fired_ns)) is None:
            if self._clock.boot_ns() >= deadline_ns:
                return unverified(f"{link.said()}: too few to tell")
            await asyncio.sleep(2 * ASK_S)
        return sight

    def _judge(self, link: Counted, fired_ns: int) -> Sight | None:
        self._beacons.drain()
        link.count(self._clock.boot_ns())
        if min(link.scores()) <= -CERTAIN:
            return not_seen(link.said())
        if min(link.scores()) < CERTAIN:
            return None
        self._holds.append(link)
        return Sight(SEEN, max(fired_ns, link.first_ns or 0))

    async def broken(self) -> str:
        """See Watch. By the same test, which begins anew whenever all is as it should be."""
        while True:
            for link in self._holds:
                for odds in link.odds.values():
                    odds.score = min(odds.score, 0)
                link.count(self._clock.boot_ns())
                if min(link.scores()) <= -2 * CERTAIN:  # over and over: as often again must it be wrong more rarely
                    return f"{link.name}: {link.again}"
            await asyncio.sleep(1.0)

    async def _gone(self, link: Counted, undone_ns: int) -> Sight:
        deadline_ns = self._listen_again(link.stream, link.end_ns())
        link.begin(undone_ns + MARGIN_NS)
        while max(link.scores()) > -SURE_ENOUGH:
            if self._clock.boot_ns() >= deadline_ns:
                return unverified(f"{link.said()}: too few to tell that it is over")
            self._beacons.ask(link.stream)
            await asyncio.sleep(ASK_S)
            self._beacons.drain()
            link.count(self._clock.boot_ns())
        return Sight(SEEN, max(undone_ns, link.first_ns or 0))
