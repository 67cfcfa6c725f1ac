"""What a probe says of losses and copies, by which of the numbered beacons arrived."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from trogdor.instant import NS_PER_MS, Clock
from trogdor.probe.beacons import Arrival, Beacons, Stream
from trogdor.probe.expect import LinkLossy
from trogdor.probe.lossy import watch_losses
from trogdor.probe.odds import OddsWatch
from trogdor.probe.sight import Sight

PEERS = {"n2": (["10.0.0.2"], 7000)}
TIMES = 3000
"""So many beacons within LONGEST_NS, on a machine that is not late."""


class Drawn(Beacons):
    """A probe port without sockets: beacons are there at once, each as often as was drawn."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.streams: list[Stream] = []

    def ask(self, stream: Stream) -> None:
        """Nobody is there to be asked."""

    def forget(self, stream: Stream) -> None:
        """Nor here."""

    def drain(self) -> None:
        """All has come."""

    def come(self, stream: Stream, since_ns: int, times: Callable[[], int]) -> None:
        """Each of many beacons arrives so many times as is drawn, well before now."""
        first = len(stream.arrivals) + 1
        for number in range(first, first + TIMES):
            stream.arrivals += [Arrival(number, since_ns + number * 1000)] * times()


@asynccontextmanager
async def watched(link: LinkLossy) -> AsyncIterator[tuple[OddsWatch, Drawn, Stream, int]]:
    """A watch of a fault that was fired a second ago."""
    clock = Clock()
    beacons = Drawn(clock)
    fired_ns = clock.boot_ns() - 1000 * NS_PER_MS
    term = (fired_ns, fired_ns + 60_000 * NS_PER_MS)
    watch = watch_losses([link], "n1", PEERS, beacons=beacons, clock=clock, term_ns=term)
    streams = list(beacons._asked.values())
    yield watch, beacons, streams[0] if streams else Stream("", "", 0, "udp", 0, []), fired_ns + 10 * NS_PER_MS
    watch.close()


async def sight(link: LinkLossy, times: Callable[[random.Random], int]) -> Sight:
    draw = random.Random(7)
    async with watched(link) as (watch, beacons, stream, since_ns):
        beacons.come(stream, since_ns, lambda: times(draw))
        return await asyncio.wait_for(watch.seen(since_ns - 10 * NS_PER_MS), 60)


def lost(chance: float) -> Callable[[random.Random], int]:
    return lambda draw: int(draw.random() >= chance)


def twice(chance: float) -> Callable[[random.Random], int]:
    return lambda draw: 1 + int(draw.random() < chance)


@pytest.mark.parametrize("chance", [0.01, 0.05, 0.3, 0.9])
async def test_losses_are_seen_and_their_absence_too(chance: float) -> None:
    link = LinkLossy("n2", "n1", chance, 0)
    assert (await sight(link, lost(chance))).verdict == "seen"
    assert (await sight(link, lost(0))).verdict.startswith("not seen: n2 → n1: of ")
    assert (await sight(link, lost(chance / 20))).verdict.startswith("not seen: n2 → n1: of ")


@pytest.mark.parametrize("chance", [0.01, 0.5])
async def test_copies_are_seen_and_their_absence_too(chance: float) -> None:
    link = LinkLossy("n2", "n1", 0, chance)
    assert (await sight(link, twice(chance))).verdict == "seen"
    assert (await sight(link, twice(0))).verdict.endswith(" 0 came twice")


async def test_of_losses_and_copies_both_must_be_there() -> None:
    assert (await sight(LinkLossy("n2", "n1", 0.2, 0.2), twice(0.2))).verdict.startswith("not seen")


async def test_one_long_run_of_losses_of_a_busy_machine_is_no_fault() -> None:
    number = iter(range(TIMES))
    link = LinkLossy("n2", "n1", 0.2, 0)
    assert (await sight(link, lambda _: int(not 3 < next(number) < 500))).verdict.startswith("not seen")


async def test_what_is_too_rare_for_beacons_is_unverified() -> None:
    async with watched(LinkLossy("n2", "n1", 0.001, 0)) as (watch, _, _, since_ns):
        assert "rarer than 1%" in (await watch.seen(since_ns)).verdict


async def test_losses_that_end_early_are_found_out_and_their_end_is_seen() -> None:
    draw = random.Random(7)
    async with watched(LinkLossy("n2", "n1", 0.2, 0)) as (watch, beacons, stream, since_ns):
        beacons.come(stream, since_ns, lambda: int(draw.random() >= 0.2))
        assert (await watch.seen(since_ns - 10 * NS_PER_MS)).verdict == "seen"
        broken = asyncio.ensure_future(watch.broken())
        await asyncio.sleep(0.05)
        assert not broken.done()
        broken.cancel()
        beacons.come(stream, since_ns + 100 * NS_PER_MS, lambda: 1)
        assert "arrive again" in await asyncio.wait_for(watch.broken(), 60)
        assert (await watch.gone(since_ns + 100 * NS_PER_MS)).verdict == "seen"
