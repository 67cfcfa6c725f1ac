"""Sees whether links have a rate: how long a train of padded beacons takes to arrive that was sent at once.

The far end only sends back, car by car, when each arrived, as its kernel dates it: before netfilter, so that delays
made there do not count, nor how late the far end comes to it. A train fills the limited link for 40 ms or more.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress

from trogdor.instant import NS_PER_MS, NS_PER_S, Clock
from trogdor.probe.beacons import ASK_S, CAR_BYTES, Beacons, Train
from trogdor.probe.degraded import LinksWatch, watched
from trogdor.probe.expect import LinkNarrow
from trogdor.probe.network import BEFORE_NS, GONE_NS, LATEST_NS, Peers, wait_until
from trogdor.probe.sight import SEEN, Sight, not_seen, unverified

LEAST_KBIT, MOST_KBIT = 250, 10_000
"""Slower, and a train would fill the link for too long; faster, and it would have to be too long itself."""
TRAIN_NS = 40 * NS_PER_MS
"""So long a train takes at the rate, where that is more than a few cars."""
FEWEST, AT_ONCE_BYTES = 8, 3200
"""Cars of a train; and so much passes at once: a limit saves up a little."""
IN_A_ROW = 3
"""So many trains that agree: a busy machine that sends one slowly makes another in no time."""
ATTEMPTS = 5
PATIENCE_NS = NS_PER_S
EVERY_S = 2.0


def can_be_told(rate_kbit: int) -> bool:
    """Whether trains tell this rate."""
    return LEAST_KBIT <= rate_kbit <= MOST_KBIT


class _Narrow:
    """One link, and what trains tell of it."""

    def __init__(self, link: LinkNarrow, address: str, port: int) -> None:
        self.link = link
        self.address, self.port = address, port
        self.before_ns: int | None = None
        """How long the quickest train took before the fault."""
        self.cars = max(FEWEST, round(link.rate_kbit * TRAIN_NS / NS_PER_S * 1000 / 8 / CAR_BYTES))

    @property
    def name(self) -> str:
        return f"{self.link.source} → {self.link.target}"

    def at_rate_ns(self, cars: int) -> int:
        """How long so many cars take at the rate."""
        return max(0, cars * CAR_BYTES - AT_ONCE_BYTES) * 8 * NS_PER_MS // self.link.rate_kbit

    def is_slow(self, train: Train) -> bool:
        """Whether it was held back: it took more than half as long as at the rate."""
        return 2 * train.span_ns > self.at_rate_ns(len(train.arrived_ns))

    def said(self, train: Train) -> str:
        """For a verdict."""
        kbit = train.count * CAR_BYTES * 8 * NS_PER_MS / max(1, train.span_ns)
        return f"{self.name}: a train arrived at {kbit:.0f} kbit/s, not {self.link.rate_kbit}"


class RateWatch(LinksWatch[_Narrow]):
    """Watches the rates that one fault gives to links where they leave: at this node."""

    def __init__(
        self, beacons: Beacons, clock: Clock, term_ns: tuple[int, int], links: Sequence[_Narrow], blind: Sequence[str]
    ) -> None:
        super().__init__(beacons, clock, links, blind)
        self._basing = [asyncio.create_task(self._look_before(each, term_ns)) for each in links]

    async def _look_before(self, link: _Narrow, term_ns: tuple[int, int]) -> None:
        await asyncio.sleep(max(0, term_ns[0] - BEFORE_NS - self._clock.boot_ns()) / NS_PER_S)
        while self._clock.boot_ns() < term_ns[0]:
            train = await self._train(link, ASK_S * NS_PER_S)
            if train is not None and train.left_ns + train.span_ns < term_ns[0]:
                link.before_ns = min(train.span_ns, link.before_ns or train.span_ns)
                if not link.is_slow(train):
                    return

    async def _train(self, link: _Narrow, patience_ns: float) -> Train | None:
        """A train of which most cars came; None when too few did."""
        train = self._beacons.send_train(link.address, link.port, link.cars)
        deadline_ns = train.left_ns + 2 * link.at_rate_ns(link.cars) + patience_ns
        try:
            while train.count < link.cars and self._clock.boot_ns() < deadline_ns:
                train.arrived.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(train.arrived.wait(), (deadline_ns - self._clock.boot_ns()) / NS_PER_S)
                self._beacons.drain()
        finally:
            self._beacons.forget_train(train)
        return train if 2 * train.count > link.cars else None

    async def based(self, within_s: float) -> None:
        """See Watch."""
        await wait_until(lambda: all(each.before_ns is not None for each in self._links), within_s)

    async def _seen(self, link: _Narrow, fired_ns: int) -> Sight:
        if link.before_ns is None:
            return unverified(f"{link.name}: no train came before the fault")
        if 2 * link.before_ns > link.at_rate_ns(link.cars):
            return unverified(f"{link.name}: before the fault it was no faster")
        slow: list[Train] = []
        missed = 0
        while len(slow) < IN_A_ROW:
            train = await self._train(link, PATIENCE_NS)
            if train is None:
                missed += 1
                if missed == ATTEMPTS:
                    return unverified(f"{link.name}: no train came during the fault")
            elif link.is_slow(train):
                slow.append(train)
            elif train.left_ns > fired_ns + LATEST_NS:
                return not_seen(link.said(train))
            else:
                slow.clear()
        self._holds.append(link)
        return Sight(SEEN, max(fired_ns, slow[0].left_ns))

    async def broken(self) -> str:
        """See Watch."""
        fast = dict.fromkeys(self._holds, 0)
        while True:
            await asyncio.sleep(EVERY_S)
            for link in self._holds:
                train = await self._train(link, PATIENCE_NS)
                if train is not None:
                    fast[link] = 0 if link.is_slow(train) else fast.get(link, 0) + 1
                    if fast[link] == IN_A_ROW:
                        return f"{link.said(train)}: as before"

    async def _gone(self, link: _Narrow, undone_ns: int) -> Sight:
        deadline_ns = self._clock.boot_ns() + GONE_NS + PATIENCE_NS
        while self._clock.boot_ns() < deadline_ns:
            train = await self._train(link, PATIENCE_NS)
            if train is not None and train.left_ns >= undone_ns and not link.is_slow(train):
                return Sight(SEEN, max(undone_ns, train.left_ns))
        return unverified(f"{link.name}: no train came faster after the end")

    def close(self) -> None:
        """See Watch."""
        for task in self._basing:
            task.cancel()


def watch_rates(
    narrow: Iterable[LinkNarrow], node: str, peers: Peers, *, beacons: Beacons, clock: Clock, term_ns: tuple[int, int]
) -> RateWatch:
    """Watches limited links that leave ``node``."""
    links, blind = watched(narrow, node, peers, _Narrow, leaving=True)
    return RateWatch(beacons, clock, term_ns, links, [] if links else blind)
