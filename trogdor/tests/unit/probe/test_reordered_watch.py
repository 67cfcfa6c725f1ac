"""What a probe says of jitter and overtaking, by the order in which beacons arrived."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from trogdor.instant import NS_PER_MS, Clock
from trogdor.probe.beacons import Arrival, Beacons, Stream
from trogdor.probe.expect import LinkReordered
from trogdor.probe.odds import OddsWatch
from trogdor.probe.reordered import can_be_seen, watch_order
from trogdor.probe.sight import Sight

PEERS = {"n2": (["10.0.0.2"], 7000)}
TIMES = 1000
GAP_MS = 5.0
JITTER = LinkReordered("n2", "n1", 0, 20, 0)
OVERTAKING = LinkReordered("n2", "n1", 50, 0, 0.1)


class Silent(Beacons):
    """A probe port without sockets: what is to arrive has arrived."""

    def ask(self, stream: Stream) -> None:
        """Nobody is there to be asked."""

    def forget(self, stream: Stream) -> None:
        """Nor here."""

    def drain(self) -> None:
        """All has come."""


def come(stream: Stream, since_ns: int, link: LinkReordered | None, gap_ms: float = GAP_MS) -> None:
    """Many beacons, each held back as the link says, arrive in the order that follows; dated before they are held."""
    draw, first = random.Random(7), len(stream.arrivals) + 1
    beacons = []
    for number in range(first, first + TIMES):
        left_ms = (number - first) * gap_ms
        held_ms = 0.0 if link is None or draw.random() < link.overtaking else _held_ms(link, draw)
        beacons.append((left_ms + held_ms, Arrival(number, since_ns + number * 1000, left_ns=round(left_ms * 1e6))))
    stream.arrivals += [beacon for _, beacon in sorted(beacons, key=lambda each: each[0])]


def _held_ms(link: LinkReordered, draw: random.Random) -> float:
    return max(0.0, link.delay_ms + draw.uniform(-link.jitter_ms, link.jitter_ms))


@asynccontextmanager
async def watched(link: LinkReordered) -> AsyncIterator[tuple[OddsWatch, Stream, int]]:
    """A watch of a fault that was fired two seconds ago."""
    clock = Clock()
    beacons = Silent(clock)
    fired_ns = clock.boot_ns() - 2000 * NS_PER_MS
    watch = watch_order(
        [link], "n1", PEERS, beacons=beacons, clock=clock, term_ns=(fired_ns, fired_ns + 60_000 * NS_PER_MS)
    )
    (stream,) = beacons._asked.values()
    yield watch, stream, fired_ns
    watch.close()


async def sight(link: LinkReordered, made: LinkReordered | None, gap_ms: float = GAP_MS) -> Sight:
    async with watched(link) as (watch, stream, fired_ns):
        come(stream, fired_ns + 10 * NS_PER_MS, made, gap_ms)
        return await asyncio.wait_for(watch.seen(fired_ns), 60)


@pytest.mark.parametrize("link", [JITTER, OVERTAKING, LinkReordered("n2", "n1", 100, 10, 0)])
async def test_beacons_that_overtake_are_seen_and_their_absence_too(link: LinkReordered) -> None:
    assert (await sight(link, link)).verdict == "seen"
    for without in (None, LinkReordered("n2", "n1", link.delay_ms, 0, 0)):
        assert (await sight(link, without)).verdict.endswith(" beacons 0 overtook the one before")


async def test_beacons_too_far_apart_to_overtake_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trogdor.probe.odds.LONGEST_NS", 0)
    assert (await sight(JITTER, JITTER, gap_ms=17)).verdict.startswith("unverified: n2 → n1: of 0 beacons")


async def test_jitter_that_ends_early_is_found_out_and_its_end_is_seen() -> None:
    async with watched(JITTER) as (watch, stream, fired_ns):
        come(stream, fired_ns + 10 * NS_PER_MS, JITTER)
        assert (await watch.seen(fired_ns)).verdict == "seen"
        broken = asyncio.ensure_future(watch.broken())
        await asyncio.sleep(0.05)
        assert not broken.done()
        broken.cancel()
        come(stream, fired_ns + 150 * NS_PER_MS, None)
        assert "again in their order" in await asyncio.wait_for(watch.broken(), 60)
        assert (await watch.gone(fired_ns + 100 * NS_PER_MS)).verdict == "seen"


def test_what_beacons_cannot_tell() -> None:
    assert can_be_seen(JITTER)
    assert can_be_seen(OVERTAKING)
    for delay_ms, jitter_ms, overtaking in ((0, 9, 0), (50, 0, 0.001), (9, 0, 0.1), (50, 0, 0)):
        assert not can_be_seen(LinkReordered("n2", "n1", delay_ms, jitter_ms, overtaking))
