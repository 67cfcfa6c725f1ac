"""What a probe of rates says, by when the cars of a train arrived."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from trogdor.instant import NS_PER_MS, Clock
from trogdor.probe.beacons import CAR_BYTES, Beacons, Train
from trogdor.probe.expect import LinkNarrow
from trogdor.probe.narrow import RateWatch, watch_rates

PEERS = {"n2": (["10.0.0.2"], 7000)}
RATE_KBIT = 1000
FAR_AHEAD_NS = 10**15
"""The far end's clock, which nobody here knows."""


class Rails(Beacons):
    """A probe port without sockets: a train's cars are there at once, at the times that a rate gives them."""

    kbit = 0
    """Of the link; 0: no limit."""
    lost = 0
    """Cars of each train that do not come."""

    def send_train(self, address: str, port: int, cars: int) -> Train:
        train = Train("", self._clock.boot_ns())
        for number in range(cars - self.lost):
            waited_ns = number * CAR_BYTES * 8 * NS_PER_MS // self.kbit if self.kbit else number * 1000
            train.arrived_ns[number] = train.left_ns + waited_ns + FAR_AHEAD_NS
        return train

    def drain(self) -> None:
        """All has come."""


@asynccontextmanager
async def watched() -> AsyncIterator[tuple[RateWatch, Rails, int]]:
    """A watch with its baseline, of a fault that is fired a tenth of a second from now."""
    clock = Clock()
    rails = Rails(clock)
    fired_ns = clock.boot_ns() + 100 * NS_PER_MS
    link = LinkNarrow("n1", "n2", RATE_KBIT)
    term = (fired_ns, fired_ns + 60_000 * NS_PER_MS)
    watch = watch_rates([link], "n1", PEERS, beacons=rails, clock=clock, term_ns=term)
    await watch.based(30.0)
    yield watch, rails, fired_ns - 1000 * NS_PER_MS
    watch.close()


async def test_a_rate_is_seen_and_its_end_too() -> None:
    async with watched() as (watch, rails, fired_ns):
        rails.kbit = RATE_KBIT
        assert (await watch.seen(fired_ns)).verdict == "seen"
        rails.kbit = 0
        assert (await watch.gone(fired_ns)).verdict == "seen"


@pytest.mark.parametrize("kbit", [0, 3 * RATE_KBIT])
async def test_a_link_that_is_faster_is_found_out(kbit: int) -> None:
    async with watched() as (watch, rails, fired_ns):
        rails.kbit = kbit
        assert (await watch.seen(fired_ns)).verdict.startswith("not seen: n1 → n2: a train arrived at ")


async def test_a_rate_that_ends_early_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trogdor.probe.narrow.EVERY_S", 0.01)
    async with watched() as (watch, rails, fired_ns):
        rails.kbit = RATE_KBIT
        assert (await watch.seen(fired_ns)).verdict == "seen"
        rails.kbit = 0
        assert (await watch.broken()).endswith("not 1000: as before")


async def test_trains_that_do_not_come_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trogdor.probe.narrow.PATIENCE_NS", 0)
    async with watched() as (watch, rails, fired_ns):
        rails.lost = 5
        assert (await watch.seen(fired_ns)).verdict == "unverified: n1 → n2: no train came during the fault"


async def test_a_far_end_without_an_agent_is_unverified() -> None:
    clock = Clock()
    narrow = LinkNarrow("n1", "n3", RATE_KBIT)
    watch = watch_rates([narrow], "n1", PEERS, beacons=Rails(clock), clock=clock, term_ns=(0, 0))
    assert "n3 has no agent of ours" in (await watch.seen(0)).verdict
