"""Sees whether links are slow: how much later beacons arrive than before, whatever the two clocks say."""

import asyncio
from collections.abc import Iterable, Sequence

from trogdor.instant import NS_PER_MS, NS_PER_S, Clock
from trogdor.probe.beacons import ASK_S, Arrival, Beacons, Stream
from trogdor.probe.degraded import DegradedWatch
from trogdor.probe.expect import LinkSlow
from trogdor.probe.network import AFTER_NS, LATEST_NS, MAX_PEERS, Peers, dense_around
from trogdor.probe.sight import SEEN, Sight, not_seen, summed_up, unverified

ENOUGH = 5
"""So many beacons tell: the least transit of a few is what the network adds, whatever delayed the others."""
WINDOW_NS = 100 * NS_PER_MS
"""In which beacons are sent that are judged when what was asked for is not so."""
FALSE_ALARMS = 10
"""So many beacons in a row that come as fast as before mean that the fault is gone; fewer may have overtaken."""


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
        """Half of the least delay that the fault promises: more than that is the fault's doing."""
        return max(1.0, self.link.delay_ms - self.link.jitter_ms) * NS_PER_MS / 2

    def extra_ns(self, arrivals: Iterable[Arrival]) -> int:
        """How much later than before the fastest of these came."""
        return min(arrival.transit_ns for arrival in arrivals) - (self.base_ns or 0)

    def late_of(self, arrivals: Iterable[Arrival]) -> list[Arrival]:
        """Those that the fault held back."""
        return [arrival for arrival in arrivals if self.extra_ns([arrival]) >= self.half_ns]

    def are_late(self, arrivals: Sequence[Arrival], enough: int) -> bool:
        """Whether most of them were held back, and enough to tell."""
        late = self.late_of(arrivals)
        return len(late) >= enough and 2 * len(late) >= len(arrivals)

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
        held_ns = round((slow.link.delay_ms + 2 * slow.link.jitter_ms) * NS_PER_MS)
        enough_ns = surely_ns + WINDOW_NS + held_ns + LATEST_NS
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
                last = list(slow.stream.arrivals)[-FALSE_ALARMS:]
                if len(last) == FALSE_ALARMS and all(slow.extra_ns([arrival]) < slow.half_ns for arrival in last):
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
    """Watches at most three of the slow links that arrive at ``node`` from nodes that have an agent of ours."""
    links: list[_Slow] = []
    blind: dict[str, None] = {}
    for link in slow:
        addresses, port = peers.get(link.source, ((), 0))
        if link.target != node or not addresses or not port:
            blind[f"{link.source} → {link.target}: {link.source} has no agent of ours to send beacons"] = None
        elif len(links) < MAX_PEERS:
            end_ns = term_ns[1] + 2 * AFTER_NS
            links.append(_Slow(link, beacons.want(addresses[0], port, "udp", dense_around(term_ns), end_ns)))
    return DelayWatch(beacons, clock, term_ns, links, [] if links else list(blind))
