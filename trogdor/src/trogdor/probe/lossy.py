"""Sees whether links lose or repeat packets: which of the numbered beacons arrive, and which of them twice.

Each beacon is one draw. Wald's sequential probability ratio test (Ann. Math. Statist. 16, 1945) decides between what
was asked for and a tenth of it, as soon as can be, wrong once in a million. Only the beacons' numbers count, however
late a busy machine comes to them; what such a machine loses itself comes in runs, and a run counts once.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Iterable

from trogdor.instant import NS_PER_MS, NS_PER_S, Clock
from trogdor.probe.beacons import ASK_S, DENSE_S, Beacons, Stream
from trogdor.probe.degraded import DegradedWatch
from trogdor.probe.expect import LinkLossy
from trogdor.probe.network import AFTER_NS, BEFORE_NS, MARGIN_NS, MAX_PEERS, Peers
from trogdor.probe.sight import SEEN, Sight, not_seen, unverified

CERTAIN = math.log(1e6)
SURE_ENOUGH = math.log(1e3)
"""Of its end, which is no error if it was not."""
LEAST = 0.01
"""What befalls fewer packets than one in a hundred takes too many beacons to tell."""
LONGEST_NS = 20 * NS_PER_S
SETTLED_NS = 300 * NS_PER_MS
"""A beacon that did not arrive so long before one sent later did is lost."""
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
    def draws(chance: float) -> int:
        """How many draws tell, most of the time, that it is not so."""
        return round(2 * CERTAIN / (0.67 * chance))


class _Lossy:
    """One link, the beacons that come over it, and what they tell."""

    def __init__(self, link: LinkLossy, stream: Stream) -> None:
        self.link = link
        self.stream = stream
        self.begin(0)

    @property
    def name(self) -> str:
        return f"{self.link.source} → {self.link.target}"

    def begin(self, since_ns: int) -> None:
        """From now on only what arrived after an instant counts."""
        self._since_ns = since_ns
        self._last: int | None = None
        self.first_ns: int | None = None
        """When the first beacon arrived that counts."""
        self.drawn = self.lost = self.twice = 0
        chances = {"lost": self.link.lost, "twice": self.link.twice}
        self.odds = {what: Odds(chance) for what, chance in chances.items() if chance}

    def count(self, until_ns: int) -> None:
        """Takes in every beacon whose fate is known at an instant."""
        arrivals = self.stream.after(self._since_ns)
        came = Counter(arrival.number for arrival in arrivals)
        settled = [arrival.number for arrival in arrivals if arrival.at_ns <= until_ns - SETTLED_NS]
        if not settled:
            return
        if self._last is None:  # that it arrived is why we count from here: it is no draw itself
            self._last, self.first_ns = min(came), arrivals[0].at_ns
        top = max(settled)
        if top - self._last <= MOST_MISSING:
            for number in range(self._last + 1, top + 1):
                self._draw(came[number], follows_one=number - 1 in came)
        self._last = max(self._last, top)

    def _draw(self, times: int, *, follows_one: bool) -> None:
        self.drawn += 1
        self.lost += times == 0
        self.twice += times > 1
        if "lost" in self.odds and follows_one:
            self.odds["lost"].draw(times == 0)
        if "twice" in self.odds and times:
            self.odds["twice"].draw(times > 1)

    def scores(self) -> list[float]:
        return [odds.score for odds in self.odds.values()]

    def said(self) -> str:
        """What was counted, for a verdict."""
        return f"{self.name}: of {self.drawn} beacons {self.lost} were lost, {self.twice} came twice"


class LossWatch(DegradedWatch[_Lossy]):
    """Watches the losses and copies that one fault makes; it takes the longer to tell the rarer they are."""

    async def _seen(self, lossy: _Lossy, fired_ns: int) -> Sight:
        lossy.begin(fired_ns + MARGIN_NS)
        deadline_ns = self._clock.boot_ns() + LONGEST_NS
        while (sight := self._judge(lossy, fired_ns)) is None:
            if self._clock.boot_ns() >= deadline_ns:
                return unverified(f"{lossy.said()}: too few to tell")
            await asyncio.sleep(2 * ASK_S)
        return sight

    def _judge(self, lossy: _Lossy, fired_ns: int) -> Sight | None:
        self._beacons.drain()
        lossy.count(self._clock.boot_ns())
        if min(lossy.scores()) <= -CERTAIN:
            return not_seen(lossy.said())
        if min(lossy.scores()) < CERTAIN:
            return None
        self._holds.append(lossy)
        return Sight(SEEN, max(fired_ns, lossy.first_ns or 0))

    def looked_back(self, fired_ns: int, undone_ns: int) -> Sight:
        """See Watch."""
        return unverified("too short to be seen")

    async def broken(self) -> str:
        """See Watch. By the same test, which begins anew whenever all is as it should be."""
        while True:
            for lossy in self._holds:
                for odds in lossy.odds.values():
                    odds.score = min(odds.score, 0)
                lossy.count(self._clock.boot_ns())
                if min(lossy.scores()) <= -2 * CERTAIN:  # over and over: as often again must it be wrong more rarely
                    return f"{lossy.name}: beacons arrive again as without the fault"
            await asyncio.sleep(1.0)

    async def _gone(self, lossy: _Lossy, undone_ns: int) -> Sight:
        deadline_ns = self._listen_again(lossy.stream)
        lossy.begin(undone_ns + MARGIN_NS)
        while max(lossy.scores()) > -SURE_ENOUGH:
            if self._clock.boot_ns() >= deadline_ns:
                return unverified(f"{lossy.said()}: too few to tell within a second of the end")
            self._beacons.ask(lossy.stream)
            await asyncio.sleep(ASK_S)
            self._beacons.drain()
            lossy.count(self._clock.boot_ns())
        return Sight(SEEN, max(undone_ns, lossy.first_ns or 0))


def watch_losses(
    lossy: Iterable[LinkLossy], node: str, peers: Peers, *, beacons: Beacons, clock: Clock, term_ns: tuple[int, int]
) -> LossWatch:
    """Watches at most three of the lossy links that arrive at ``node`` from nodes that have an agent of ours."""
    links: list[_Lossy] = []
    blind: dict[str, None] = {}
    for link in lossy:
        rarest = min(chance for chance in (link.lost, link.twice) if chance)
        addresses, port = peers.get(link.source, ((), 0))
        if rarest < LEAST:
            blind[f"{link.source} → {link.target}: rarer than {LEAST:.0%}, too few beacons come to tell"] = None
        elif link.target != node or not addresses or not port:
            blind[f"{link.source} → {link.target}: {link.source} has no agent of ours to send beacons"] = None
        elif len(links) < MAX_PEERS:
            dense = _dense(term_ns, rarest)
            stream = beacons.want(addresses[0], port, "udp", dense, term_ns[1] + 2 * AFTER_NS)
            links.append(_Lossy(link, stream))
    return LossWatch(beacons, clock, term_ns, links, list(blind))


def _dense(term_ns: tuple[int, int], chance: float) -> list[tuple[int, int]]:
    """Often until it can be told, and around the end."""
    start_ns, end_ns = term_ns
    needed_ns = round(2 * Odds.draws(chance) * DENSE_S["udp"] * NS_PER_S)
    return [
        (start_ns - BEFORE_NS, start_ns + min(max(AFTER_NS, needed_ns), LONGEST_NS)),
        (end_ns - BEFORE_NS // 4, end_ns + AFTER_NS),
    ]
