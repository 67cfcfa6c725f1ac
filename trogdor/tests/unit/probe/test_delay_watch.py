"""What a probe of delays says, by when beacons left and arrived, and never by when it came to look."""

import asyncio
from collections.abc import Sequence

from trogdor.instant import NS_PER_MS, Clock
from trogdor.probe.beacons import Arrival, Beacons, Stream
from trogdor.probe.delay import watch_delays
from trogdor.probe.expect import LinkSlow
from trogdor.probe.sight import Sight

PEERS = {"n2": (["10.0.0.2"], 7000)}
DELAY_MS = 50
FAR_AHEAD_NS = 10**15
"""The far end's clock, which nobody here knows."""


class Scripted(Beacons):
    """A probe port without sockets: beacons, each (left, arrived) in ms of the instant, come as a script says."""

    script: list[tuple[float, float]]
    fired_ns: int

    def ask(self, stream: Stream) -> None:
        """Nobody is there to be asked."""

    def forget(self, stream: Stream) -> None:
        """Nor here."""

    def drain(self) -> None:
        for beacon in list(self.script):
            left_ns, at_ns = (self.fired_ns + round(ms * NS_PER_MS) for ms in beacon)
            if at_ns <= self._clock.boot_ns():
                self.script.remove(beacon)
                arrival = Arrival(0, at_ns, left_ns=left_ns + FAR_AHEAD_NS, transit_ns=at_ns - left_ns - FAR_AHEAD_NS)
                for stream in self._asked.values():
                    stream.arrivals.append(arrival)


async def look(
    script: Sequence[tuple[float, float]], late_ms: float = 100, *, protocol: str = "any", overtaking: float = 0
) -> Sight:
    """What is said by a probe that comes to look only so long after the instant."""
    clock = Clock()
    beacons = Scripted(clock)
    beacons.script, beacons.fired_ns = list(script), clock.boot_ns() + 20 * NS_PER_MS
    term = (beacons.fired_ns, beacons.fired_ns + 60_000 * NS_PER_MS)
    link = LinkSlow("n2", "n1", DELAY_MS, 0, protocol, overtaking)
    watch = watch_delays([link], "n1", PEERS, beacons=beacons, clock=clock, term_ns=term)
    await asyncio.sleep(late_ms / 1000)
    sight = await watch.seen(beacons.fired_ns)
    watch.close()
    return sight


def beacons(first_ms: int, last_ms: int, transit_ms: float) -> list[tuple[float, float]]:
    return [(left, left + transit_ms) for left in range(first_ms, last_ms, 5)]


BEFORE, SLOW = beacons(-100, -5, 0.1), beacons(0, 800, DELAY_MS)


async def test_a_delay_is_seen() -> None:
    assert (await look([*BEFORE, *SLOW])).verdict == "seen"


async def test_without_its_delay_a_link_is_found_out_whenever_one_looks() -> None:
    for late_ms in (100, 600):
        sight = await look([*BEFORE, *beacons(0, 800, 0.1)], late_ms)
        assert sight.verdict == "not seen: n2 → n1: beacons came 0.0 ms later than before, not 50"


async def test_a_busy_machine_takes_no_beacon_from_before_the_instant_for_a_fast_one() -> None:
    late_before = [(left, left + 40.0) for left in range(-140, -40, 5)]
    on_their_way = beacons(-38, -1, 0.1)
    assert (await look([*late_before, *on_their_way, *beacons(0, 800, 40.0 + DELAY_MS)])).verdict == "seen"


async def test_without_a_beacon_before_or_during_the_fault_nothing_is_claimed() -> None:
    assert (await look(SLOW)).verdict.startswith("unverified: n2 → n1: no beacon came before")
    assert (await look(BEFORE)).verdict.startswith("unverified: n2 → n1: no beacon came during")


async def test_a_connection_that_only_its_way_back_slows_is_no_slow_link() -> None:
    there, back = beacons(0, 800, 2 * DELAY_MS), beacons(0, 800, DELAY_MS)
    assert (await look([*BEFORE, *there], protocol="tcp")).verdict == "seen"
    assert (await look([*BEFORE, *back], protocol="tcp")).verdict.startswith("not seen: ")
    assert (await look([*BEFORE, *back], protocol="icmp")).verdict == "seen"


async def test_a_delay_that_most_overtake_is_seen_in_the_others() -> None:
    mixed = [(left, left + (DELAY_MS if number % 4 == 0 else 0.1)) for number, (left, _) in enumerate(SLOW)]
    assert (await look([*BEFORE, *mixed], overtaking=0.75)).verdict == "seen"
    assert (await look([*BEFORE, *mixed])).verdict.startswith("not seen: ")
