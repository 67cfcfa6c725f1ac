"""Sees whether links lose or repeat packets: which of the numbered beacons arrive, and which of them twice.

Only the beacons' numbers count, however late a busy machine comes to them; what such a machine loses itself comes in
runs, and a run counts once.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from trogdor.instant import Clock
from trogdor.probe.beacons import PATIENCE_S, Arrival, Beacons, Mode, Stream
from trogdor.probe.degraded import Blind, mode_of, watched
from trogdor.probe.expect import LinkLossy
from trogdor.probe.network import AFTER_NS, Peers
from trogdor.probe.odds import Counted, OddsWatch, dense_until_told, least

SETTLED_MS: dict[Mode, float] = {"udp": 300, "icmp": 300, "tcp": 1700}
"""When a beacon that has not come never will: a connection's data is sent again for a while."""
MOST_HELD_MS = 400.0
"""Linux sends the first packet of a connection again after a second: so long must not be waited for it."""


class _Lossy(Counted):
    """One link, and how many beacons it lost and repeated."""

    again = "beacons arrive again as without the fault"

    def __init__(self, link: LinkLossy, stream: Stream) -> None:
        chances = {"lost": link.lost, "twice": link.twice}
        settled_ms = SETTLED_MS[stream.mode] + link.held_ms
        name = f"{link.source} → {link.target}"
        super().__init__(name, stream, {what: chance for what, chance in chances.items() if chance}, settled_ms)

    def begin(self, since_ns: int) -> None:
        """See Counted."""
        super().begin(since_ns)
        self.drawn = self.lost = self.twice = 0

    def take(self, arrivals: Sequence[Arrival], numbers: range) -> None:
        """See Counted."""
        came = Counter(arrival.number for arrival in arrivals)
        for number in numbers:
            self._draw(came[number], follows_one=number - 1 in came)

    def _draw(self, times: int, *, follows_one: bool) -> None:
        self.drawn += 1
        self.lost += times == 0
        self.twice += times > 1
        if "lost" in self.odds and follows_one:
            self.odds["lost"].draw(times == 0)
        if "twice" in self.odds and times:
            self.odds["twice"].draw(times > 1)

    def said(self) -> str:
        """See Counted."""
        return f"{self.name}: of {self.drawn} beacons {self.lost} were lost, {self.twice} came twice"


def watch_losses(
    lossy: Iterable[LinkLossy], node: str, peers: Peers, *, beacons: Beacons, clock: Clock, term_ns: tuple[int, int]
) -> OddsWatch:
    """Watches lossy links that arrive at ``node``."""

    def watch(link: LinkLossy, address: str, port: int) -> _Lossy:
        mode = mode_of(link.protocol)
        rarest = min(chance for chance in (link.lost, link.twice) if chance)
        if rarest < least(mode):
            raise Blind(f"rarer than {least(mode):.0%}, too few beacons come to tell")
        if mode == "tcp" and link.held_ms > MOST_HELD_MS:
            raise Blind("a connection takes as long as a lost one that is made again")
        dense, end_ns = dense_until_told(term_ns, rarest, mode), term_ns[1] + 2 * AFTER_NS
        patience_s = PATIENCE_S + 2 * link.held_ms / 1000
        return _Lossy(link, beacons.want(address, port, mode, dense, end_ns, patience_s=patience_s))

    return OddsWatch(beacons, clock, term_ns, *watched(lossy, node, peers, watch))
