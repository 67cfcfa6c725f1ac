"""What a probe of links says, by when beacons arrived, and never by when it came to look."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from trogdor.instant import NS_PER_MS, Clock
from trogdor.probe.beacons import Arrival, Beacons, Stream
from trogdor.probe.expect import LinkCut
from trogdor.probe.network import LinkWatch, watch_links
from trogdor.probe.sight import Sight

CUT = LinkCut("n2", "n1")
PEERS = {"n2": (["10.0.0.2"], 7000)}


class Scripted(Beacons):
    """A probe port without sockets: beacons arrive as a script says, seen only when somebody looks."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.script: list[int] = []
        self.up_ns = 0

    def ask(self, stream: Stream) -> None:
        """Nobody is there to be asked."""

    def forget(self, stream: Stream) -> None:
        """Nor here."""

    def drain(self) -> None:
        now = self._clock.boot_ns()
        for at_ns in [at for at in self.script if at <= now]:
            self.script.remove(at_ns)
            for stream in self._asked.values():
                stream.arrivals.append(Arrival(0, at_ns, up_ns=self.up_ns))
                stream.arrived.set()


Said = Callable[[Sequence[float]], Any]


async def look(arrivals_ms: Sequence[float], *, late_ms: float = 0, also_cut: bool = False) -> tuple[Sight, LinkWatch]:
    """What is said of a cut at 0 ms when beacons arrive then, by a probe that comes to look only ``late_ms`` after."""
    clock = Clock()
    beacons = Scripted(clock)
    fired_ns = clock.boot_ns() + 100 * NS_PER_MS
    term = (fired_ns, fired_ns + 60_000 * NS_PER_MS)
    watch = watch_links([CUT], "n1", PEERS, beacons=beacons, clock=clock, term_ns=term, also_cut=lambda cut: also_cut)
    beacons.script = [fired_ns + round(at * NS_PER_MS) for at in arrivals_ms]
    await asyncio.sleep(0.1)
    beacons.drain()
    if late_ms:
        await asyncio.sleep(late_ms / 1000)
    sight = await watch.seen(fired_ns)
    at_ms = None if sight.at_ns is None else (sight.at_ns - fired_ns) / NS_PER_MS
    watch.close()
    return Sight(sight.verdict, None if at_ms is None else round(at_ms)), watch


BASELINE = list(range(-80, 0, 5))


async def test_silence_after_a_baseline_is_a_cut() -> None:
    assert (await look(BASELINE))[0] == Sight("seen", 0)


@pytest.mark.parametrize("late_ms", [0, 700])
async def test_a_beacon_long_after_the_instant_is_no_cut(late_ms: float) -> None:
    sight, _ = await look([*BASELINE, *range(0, 500, 5)], late_ms=late_ms)
    assert sight.verdict.startswith("not seen: n2 → n1: a beacon arrived ")


async def test_a_probe_that_comes_late_judges_by_arrivals_alone() -> None:
    assert (await look(BASELINE, late_ms=700))[0] == Sight("seen", 0)


async def test_a_beacon_on_its_way_at_the_instant_is_none_against_the_cut() -> None:
    assert (await look([*BASELINE, 3]))[0] == Sight("seen", 0)


async def test_a_cut_that_takes_a_little_later_is_seen_when_it_takes() -> None:
    assert (await look([*BASELINE, *range(0, 90, 10)]))[0] == Sight("seen", 80)


async def test_without_a_baseline_nothing_is_claimed() -> None:
    sight, _ = await look([])
    assert sight.verdict == "unverified: n2 → n1: no beacon came from 10.0.0.2 port 7000 before the cut"


async def test_without_a_baseline_a_cut_that_another_fault_holds_is_as_it_should_be() -> None:
    assert (await look([], also_cut=True))[0] == Sight("seen", 0)


async def test_a_baseline_with_gaps_asks_for_a_longer_silence() -> None:
    """A far end that sent each 40 ms before is not taken for cut off after 60 ms, only after 120."""
    sight, _ = await look([-90, -50, -10, 80, 160, 240, 320, 400])
    assert sight.verdict.startswith("not seen: ")


@pytest.mark.parametrize(
    ("lasted_ms", "came_ms", "up_ms", "verdict"),
    [
        (900, 100, 2000, "seen"),
        (900, 400, 2000, "unverified: n2 → n1: too short to be seen"),
        (900, 100, 500, "unverified: n2 → n1: too short to be seen"),
        (900, None, 2000, "unverified: n2 → n1: too short to be seen"),
    ],
    ids=["soon after", "long after", "from one that was not there", "never"],
)
async def test_without_a_baseline_what_comes_after_the_end_tells_of_the_silence_before_it(
    lasted_ms: int, came_ms: int | None, up_ms: int, verdict: str
) -> None:
    clock = Clock()
    beacons = Scripted(clock)
    undone_ns = clock.boot_ns()
    fired_ns = undone_ns - lasted_ms * NS_PER_MS
    term = (fired_ns, undone_ns)
    watch = watch_links([CUT], "n1", PEERS, beacons=beacons, clock=clock, term_ns=term, also_cut=lambda cut: False)
    assert (await watch.seen(fired_ns)).verdict.endswith("no beacon came from 10.0.0.2 port 7000 before the cut")
    beacons.script, beacons.up_ns = [undone_ns + came_ms * NS_PER_MS] if came_ms else [], up_ms * NS_PER_MS
    gone = await watch.gone(undone_ns)
    assert gone.verdict == ("seen" if came_ms else "unverified: it was not seen to hold")
    assert watch.looked_back(fired_ns, undone_ns) == Sight(verdict, fired_ns if verdict == "seen" else None)
    watch.close()


async def test_an_old_beacon_alone_asks_for_a_longer_silence() -> None:
    """Of a far end that was last heard 300 ms before, 60 ms of silence tell nothing."""
    sight, _ = await look([-300, 220, 500])
    assert sight.verdict.startswith("not seen: ")


@pytest.mark.parametrize(
    ("cut", "why"),
    [
        (LinkCut("n1", "n2"), "seen only where it arrives"),
        (LinkCut("10.9.9.9", "n1"), "10.9.9.9 has no agent of ours to send beacons"),
    ],
)
async def test_what_cannot_be_probed_is_unverified_and_why(cut: LinkCut, why: str) -> None:
    clock = Clock()
    now = clock.boot_ns()
    watch = watch_links(
        [cut], "n1", PEERS, beacons=Scripted(clock), clock=clock, term_ns=(now, now + 10**9), also_cut=lambda cut: False
    )
    assert (await watch.seen(now)).verdict == f"unverified: {cut.source} → {cut.target}: {why}"
    watch.close()
