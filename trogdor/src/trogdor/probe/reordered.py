"""Sees whether packets overtake each other on a link: the order in which numbered beacons arrive.

A busy machine makes beacons late, all of them together, but does not change their order: jitter and overtaking do.
"""

from collections.abc import Iterable, Sequence

from trogdor.instant import NS_PER_MS, Clock
from trogdor.probe.beacons import Arrival, Beacons, Stream
from trogdor.probe.degraded import watched
from trogdor.probe.expect import LinkReordered
from trogdor.probe.network import AFTER_NS, Peers
from trogdor.probe.odds import Counted, OddsWatch, dense_until_told, least

CLOSE = 0.8
"""Beacons are compared with the next one that leaves within this share of what may lie between the two's delays."""
BY_JITTER = 0.05
"""The least chance that one of two so close overtakes, for each distribution, where there is no other delay."""
LEAST_MS = 10.0
"""Below that, beacons that are 5 ms apart are too few so close."""
SETTLED_MS = 300.0


def can_be_seen(link: LinkReordered) -> bool:
    """Whether beacons are close enough to each other, and enough of them overtake."""
    return _spread_ms(link) >= LEAST_MS and _chance(link) >= least("udp")


def _by_jitter(link: LinkReordered) -> bool:
    return link.jitter_ms >= LEAST_MS


def _spread_ms(link: LinkReordered) -> float:
    return link.jitter_ms if _by_jitter(link) else link.delay_ms - 2 * link.jitter_ms


def _chance(link: LinkReordered) -> float:
    """Of a beacon that is not held back, and the one before it that is."""
    return BY_JITTER if _by_jitter(link) else link.overtaking * (1 - link.overtaking)


class _Reordered(Counted):
    """One link, and how many beacons overtook the one before."""

    again = "beacons arrive again in their order"

    def __init__(self, link: LinkReordered, stream: Stream) -> None:
        self._close_ns = CLOSE * _spread_ms(link) * NS_PER_MS
        settled_ms = SETTLED_MS + link.delay_ms + 4 * link.jitter_ms
        super().__init__(f"{link.source} → {link.target}", stream, {"overtook": _chance(link)}, settled_ms)

    def begin(self, since_ns: int) -> None:
        """See Counted."""
        super().begin(since_ns)
        self.drawn = self.overtook = 0

    def take(self, arrivals: Sequence[Arrival], numbers: range) -> None:
        """See Counted. Only the first of several copies counts."""
        came = {each.number: (place, each.left_ns) for place, each in reversed(list(enumerate(arrivals)))}
        for number in numbers:
            if number in came and number - 1 in came:
                (place, left_ns), (place_before, left_before_ns) = came[number], came[number - 1]
                if left_ns - left_before_ns <= self._close_ns:
                    self._draw(place < place_before)

    def _draw(self, overtook: bool) -> None:
        self.drawn += 1
        self.overtook += overtook
        self.odds["overtook"].draw(overtook)

    def said(self) -> str:
        """See Counted."""
        return f"{self.name}: of {self.drawn} beacons {self.overtook} overtook the one before"


def watch_order(
    reordered: Iterable[LinkReordered],
    node: str,
    peers: Peers,
    *,
    beacons: Beacons,
    clock: Clock,
    term_ns: tuple[int, int],
) -> OddsWatch:
    """Watches links that arrive at ``node`` and on which packets overtake."""

    def watch(link: LinkReordered, address: str, port: int) -> _Reordered:
        dense = dense_until_told(term_ns, _chance(link), "udp")
        return _Reordered(link, beacons.want(address, port, "udp", dense, term_ns[1] + 2 * AFTER_NS))

    return OddsWatch(beacons, clock, term_ns, *watched(reordered, node, peers, watch))
