"""Sees whether links are slow: how much later beacons arrive than before, whatever the two clocks say."""

import asyncio
import math
from collections.abc import Iterable, Sequence

from trogdor.instant import NS_PER_MS, NS_PER_S, Clock
from trogdor.probe.beacons import ASK_S, MOST_PATIENCE_S, PATIENCE_S, Arrival, Beacons, Mode, Stream
from trogdor.probe.degraded import Blind, DegradedWatch, mode_of, watched
from trogdor.probe.expect import LinkSlow
from trogdor.probe.network import AFTER_NS, LATEST_NS, Peers, dense_around
from trogdor.probe.sight import SEEN, Sight, not_seen, summed_up, unverified

ENOUGH = 5
"""So many beacons tell: the least transit of a few is what the network adds, whatever delayed the others."""
WINDOW_NS = 100 * NS_PER_MS
"""In which beacons are sent that are judged when what was asked for is not so."""
FALSE_ALARMS = 10
"""So many beacons in a row that come as fast as before mean that the fault is gone; fewer may have overtaken."""
RARELY = 1e-9
"""So seldom may as many have overtaken as are taken for the fault's end."""
MEETS: dict[Mode, int] = {"udp": 1, "tcp": 2, "icmp": 1}
"""How many packets of a beacon the link holds back in turn: of a connection its first one, and what it carries."""
PASSES: dict[Mode, int] = {"udp": 1, "tcp": 3, "icmp": 2}
"""The same, where the way back is as slow."""


class _Slow:
    """One slow link and the beacons that come over it."""

    def __init__(self, link: LinkSlow, stream: Stream) -> None:
        self.link = link
        self.stream = stream
        self.base_ns: int | None = None
        """The least transit before the fault."""

    @property
    def name(self) -> str:
        return f"{self.link.source} → {self.link.target}"

    @property
    def half_ns(self) -> float:
        """Half of the least delay that the fault promises: more than that is the fault's doing.

        Of a connection one and a half: one is what it takes where only the way back is slow.
        """
        least_ns = max(1.0, self.link.delay_ms - self.link.jitter_ms) * NS_PER_MS
        return (MEETS[self.stream.mode] - 0.5) * least_ns

    @property
    def share(self) -> float:
        """Of the beacons those that the fault holds back; the others overtake."""
        return float((1 - self.link.overtaking) ** MEETS[self.stream.mode])

    @property
    def false_alarms(self) -> int:
        """So many beacons in a row do not overtake."""
        return (
            max(FALSE_ALARMS, math.ceil(math.log(RARELY) / math.log(1 - self.share)))
            if self.share < 1
            else FALSE_ALARMS
        )

    def extra_ns(self, arrivals: Iterable[Arrival]) -> int:
        """How much later than before the fastest of these came."""
        return min(arrival.transit_ns for arrival in arrivals) - (self.base_ns or 0)

    def late_of(self, arrivals: Iterable[Arrival]) -> list[Arrival]:
        """Those that the fault held back."""
        return [arrival for arrival in arrivals if self.extra_ns([arrival]) >= self.half_ns]

    def are_late(self, arrivals: Sequence[Arrival], enough: int) -> bool:
        """Whether most of them were held back that should be, and enough to tell."""
        late = self.late_of(arrivals)
        return len(late) >= enough and 2 * len(late) >= self.share * len(arrivals)

    def sent_after(self, instant_ns: int) -> list[Arrival]:
        """What left the far end after an instant of our clock; the transit before the fault stands for the offset.

        Where that was long, on a busy machine, some may have left a little before.
        """
        return [arrival for arrival in self.stream.arrivals if arrival.left_ns + (self.base_ns or 0) > instant_ns]


class DelayWatch(DegradedWatch[_Slow]):
    """Watches the delays that one fault makes."""

    async def _seen(self, slow: _Slow, fired_ns: int) -> Sight:
        self._beacons.drain()
        before = slow.stream.until(fired_ns)
        if not before:
            return unverified(f"{slow.name}: no beacon came before the fault")
        slow.base_ns = min(arrival.transit_ns for arrival in before)
        surely_ns = fired_ns + LATEST_NS
        held_ns = round(PASSES[slow.stream.mode] * _longest_ms(slow.link) * NS_PER_MS)
        enough_ns = surely_ns + round(WINDOW_NS / slow.share) + held_ns + LATEST_NS
        while not slow.are_late(slow.sent_after(fired_ns), ENOUGH):
            now_ns, surely = self._clock.boot_ns(), slow.sent_after(surely_ns)
            if now_ns >= enough_ns + (0 if len(surely) >= ENOUGH else NS_PER_S):
                return self._judge(slow, surely, fired_ns)
            await asyncio.sleep(ASK_S)
            self._beacons.drain()
        return self._took(slow, fired_ns)

    def _judge(self, slow: _Slow, came: Sequence[Arrival], fired_ns: int) -> Sight:
        """Of few beacons, or of what is not so, and only by those that surely met the fault."""
        if not came:
            return unverified(f"{slow.name}: no beacon came during the fault")
        if slow.are_late(came, 1):
            return self._took(slow, fired_ns)
        extra_ms = slow.extra_ns(came) / NS_PER_MS
        return not_seen(f"{slow.name}: beacons came {extra_ms:.1f} ms later than before, not {slow.link.delay_ms:g}")

    def _took(self, slow: _Slow, fired_ns: int) -> Sight:
        self._holds.append(slow)
        left_ns = min(arrival.left_ns for arrival in slow.late_of(slow.sent_after(fired_ns)))
        return Sight(SEEN, max(fired_ns, left_ns + (slow.base_ns or 0)))

    def looked_back(self, fired_ns: int, undone_ns: int) -> Sight:
        """See Watch."""
        self._beacons.drain()
        sights = [
            self._took(slow, fired_ns)
            if slow.base_ns is not None and slow.are_late(slow.sent_after(fired_ns), ENOUGH)
            else unverified(f"{slow.name}: too short to be seen")
            for slow in self._links
        ]
        return summed_up([*self._blind, *sights])

    async def broken(self) -> str:
        """See Watch."""
        while True:
            for slow in self._holds:
                last = list(slow.stream.arrivals)[-slow.false_alarms :]
                if len(last) == slow.false_alarms and all(slow.extra_ns([each]) < slow.half_ns for each in last):
                    return f"{slow.name}: beacons come as fast as before"
            await asyncio.sleep(1.0)

    async def _gone(self, slow: _Slow, undone_ns: int) -> Sight:
        deadline_ns = self._listen_again(slow.stream)
        while True:
            self._beacons.drain()
            fast = [each for each in slow.sent_after(undone_ns) if slow.extra_ns([each]) < slow.half_ns]
            if fast:
                return Sight(SEEN, max(undone_ns, fast[0].left_ns + (slow.base_ns or 0)))
            if self._clock.boot_ns() >= deadline_ns:
                return unverified(f"{slow.name}: no beacon came as fast as before for a second after the end")
            self._beacons.ask(slow.stream)
            await asyncio.sleep(ASK_S)


def watch_delays(
    slow: Iterable[LinkSlow], node: str, peers: Peers, *, beacons: Beacons, clock: Clock, term_ns: tuple[int, int]
) -> DelayWatch:
    """Watches slow links that arrive at ``node``."""

    def watch(link: LinkSlow, address: str, port: int) -> _Slow:
        mode = mode_of(link.protocol)
        patience_s = PATIENCE_S + (PASSES[mode] - 1) * _longest_ms(link) / 1000
        if mode == "tcp" and patience_s > MOST_PATIENCE_S:
            raise Blind("a connection takes too long to be waited for")
        dense, end_ns = dense_around(term_ns), term_ns[1] + 2 * AFTER_NS
        return _Slow(link, beacons.want(address, port, mode, dense, end_ns, patience_s=patience_s))

    links, blind = watched(slow, node, peers, watch)
    return DelayWatch(beacons, clock, term_ns, links, [] if links else blind)


def _longest_ms(link: LinkSlow) -> float:
    return link.delay_ms + 2 * link.jitter_ms
