"""Sees whether links are cut: beacons from the far end that arrive, or do not."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

from trogdor.instant import NS_PER_MS, NS_PER_S, Clock
from trogdor.probe.beacons import ASK_S, Arrival, Beacons, Mode, Stream
from trogdor.probe.expect import LinkCut
from trogdor.probe.sight import SEEN, Sight, not_seen, summed_up, unverified

MAX_PEERS = 3
MAX_ADDRESSES = 4
MARGIN_NS = 5 * NS_PER_MS
"""A beacon this soon after the instant was on its way already."""
QUIET_NS = 60 * NS_PER_MS
MAX_QUIET_NS = 2 * NS_PER_S
"""Silence that tells of a cut: three times the longest gap of the baseline, at least and at most this."""
LATEST_NS = 200 * NS_PER_MS
"""A fault that has not taken this long after it was put in force has not taken."""
ASKED_NS = 5 * NS_PER_S
"""How long before the instant a far end is asked for beacons: on a busy machine the first may take a while."""
BEFORE_NS = NS_PER_S
AFTER_NS = NS_PER_S
GONE_NS = NS_PER_S

BASED_S = 0.002

Peers = Mapping[str, tuple[Sequence[str], int]]
"""Node → its addresses and its probe port."""


async def wait_until(holds: Callable[[], bool], within_s: float) -> None:
    """Returns once ``holds`` does, or after ``within_s``."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not holds():
                await asyncio.sleep(BASED_S)


async def ask_until_they_come(
    beacons: Beacons, streams: Sequence[Stream], clock: Clock, term_ns: tuple[int, int]
) -> None:
    """Asks for a baseline, again and again while armed: a far end may be late, or not up yet."""
    start_ns, end_ns = term_ns
    await asyncio.sleep(max(0, start_ns - ASKED_NS - clock.boot_ns()) / NS_PER_S)
    while any(not stream.arrivals for stream in streams) and clock.boot_ns() < end_ns:
        for stream in streams:
            if not stream.arrivals:
                beacons.ask(stream)
        await asyncio.sleep(ASK_S if clock.boot_ns() < start_ns + LATEST_NS else 1.0)


def dense_around(term_ns: tuple[int, int]) -> list[tuple[int, int]]:
    """When beacons are wanted often: around a fault's beginning and its end."""
    start_ns, end_ns = term_ns
    return [(start_ns - BEFORE_NS, start_ns + AFTER_NS), (end_ns - BEFORE_NS // 4, end_ns + AFTER_NS)]


@dataclass(eq=False)
class _Link:
    """One cut that is watched, by one stream for each address of the far end."""

    cut: LinkCut
    streams: list[Stream]


class LinkWatch:
    """Watches the cuts that one fault makes where they arrive: at this node."""

    def __init__(
        self,
        beacons: Beacons,
        clock: Clock,
        term_ns: tuple[int, int],
        *,
        links: Sequence[_Link],
        blind: Sequence[str],
        also_cut: Callable[[LinkCut], bool],
    ) -> None:
        """``blind``: why some cuts are not watched. ``also_cut``: whether another fault holds the same cut now."""
        self._beacons = beacons
        self._clock = clock
        self._end_ns = term_ns[1]
        self._links = links
        self._blind = blind
        self._also_cut = also_cut
        self._holds: list[tuple[_Link, Stream, int]] = []
        """What was seen to be cut, and since when it must stay silent."""
        self._mute: list[_Link] = []
        """Of which no beacon came before the cut, so that it tells nothing that none came after it."""
        self._asking = asyncio.create_task(ask_until_they_come(beacons, self._streams, clock, term_ns))

    @property
    def _streams(self) -> list[Stream]:
        return [stream for link in self._links for stream in link.streams]

    async def based(self, within_s: float) -> None:
        """See Watch."""
        await wait_until(lambda: all(any(stream.arrivals for stream in link.streams) for link in self._links), within_s)

    async def seen(self, fired_ns: int) -> Sight:
        """See Watch. Decided by when beacons arrived at this machine, not by when we came to look."""
        sights = [unverified(why) for why in self._blind]
        for link in self._links:
            found = [await self._stream_seen(link, stream, fired_ns) for stream in link.streams]
            based = [sight for sight in found if not sight.verdict.startswith("unverified")]
            if not based:
                self._mute.append(link)
            sights.append(summed_up(based or found))
        return summed_up(sights)

    async def _stream_seen(self, link: _Link, stream: Stream, fired_ns: int) -> Sight:
        baseline = stream.until(fired_ns + MARGIN_NS)
        quiet_ns = _quiet_ns(baseline, fired_ns)
        deadline_ns = fired_ns + max(LATEST_NS, quiet_ns)
        while True:
            last_ns = max((arrival.at_ns for arrival in stream.until(2**63)), default=0)
            silent_from_ns = max(last_ns, fired_ns)
            now_ns = self._clock.boot_ns()
            if now_ns - silent_from_ns >= quiet_ns or now_ns >= deadline_ns + quiet_ns:
                break
            await asyncio.sleep((silent_from_ns + quiet_ns - now_ns) / NS_PER_S + 0.001)
            self._beacons.drain()
        self._beacons.drain()
        await asyncio.sleep(0)
        return self._judge(link, stream, fired_ns, deadline_ns)

    def _judge(self, link: _Link, stream: Stream, fired_ns: int, deadline_ns: int) -> Sight:
        name = f"{link.cut.source} → {link.cut.target}"
        baseline = stream.until(fired_ns + MARGIN_NS)
        late = stream.after(fired_ns + MARGIN_NS)
        last_ns = max((arrival.at_ns for arrival in (*baseline, *late)), default=0)
        if late and last_ns > fired_ns + LATEST_NS:
            after_ms = (last_ns - fired_ns) / NS_PER_MS
            return not_seen(f"{name}: a beacon arrived {after_ms:.0f} ms after the cut")
        if not baseline and not late:
            if self._also_cut(link.cut):
                return Sight(SEEN, fired_ns)
            where = f"{stream.address} port {stream.port}"
            return unverified(f"{name}: no beacon came from {where} before the cut")
        self._holds.append((link, stream, max(last_ns, fired_ns) + MARGIN_NS))
        return Sight(SEEN, max(last_ns, fired_ns) if late else fired_ns)

    def looked_back(self, fired_ns: int, undone_ns: int) -> Sight:
        """See Watch."""
        self._beacons.drain()
        sights = [unverified(why) for why in self._blind]
        for link in self._links:
            found = [self._look_back(link, stream, fired_ns, undone_ns) for stream in link.streams]
            based = [sight for sight in found if not sight.verdict.startswith("unverified")]
            sights.append(summed_up(based or found))
        return summed_up(sights)

    def _look_back(self, link: _Link, stream: Stream, fired_ns: int, undone_ns: int) -> Sight:
        baseline = stream.until(fired_ns + MARGIN_NS)
        came = [arrival for arrival in stream.after(fired_ns + MARGIN_NS) if arrival.at_ns < undone_ns]
        silent_from_ns = max((arrival.at_ns for arrival in came), default=fired_ns)
        quiet_ns = _quiet_ns(baseline, fired_ns) if baseline else _quiet_by_after_ns(stream, fired_ns, undone_ns)
        if quiet_ns is None or undone_ns - silent_from_ns < quiet_ns:
            return unverified(f"{link.cut.source} → {link.cut.target}: too short to be seen")
        self._holds.append((link, stream, silent_from_ns + MARGIN_NS))
        return Sight(SEEN, silent_from_ns)

    async def broken(self) -> str:
        """See Watch."""
        while True:
            for link, stream, since_ns in self._holds:
                came = [arrival for arrival in stream.after(since_ns) if arrival.at_ns < self._end_ns]
                if came:
                    after_ms = (came[0].at_ns - since_ns) / NS_PER_MS
                    cut = link.cut
                    return f"{cut.source} → {cut.target}: open again {after_ms:.0f} ms after it was seen to be cut"
            waiting = [asyncio.create_task(stream.arrived.wait()) for _, stream, _ in self._holds]
            if not waiting:
                await asyncio.Event().wait()
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()
            for _, stream, _ in self._holds:
                stream.arrived.clear()

    async def gone(self, undone_ns: int) -> Sight:
        """See Watch."""
        held = [self._open_again(link, stream, undone_ns) for link, stream, _ in self._holds]
        mute = [self._open_again(link, stream, undone_ns) for link in self._mute for stream in link.streams]
        sights = await asyncio.gather(*held, *mute)
        heard = [sight for sight in sights[len(held) :] if sight.verdict == SEEN]
        told = [*sights[: len(held)], *heard]
        return summed_up(told) if told else unverified("it was not seen to hold")

    async def _open_again(self, link: _Link, stream: Stream, undone_ns: int) -> Sight:
        if self._also_cut(link.cut):
            return Sight(SEEN, undone_ns)
        now_ns = self._clock.boot_ns()
        deadline_ns = now_ns + GONE_NS
        stream.dense, stream.end_ns = [(now_ns, deadline_ns)], deadline_ns + AFTER_NS
        while True:
            self._beacons.drain()
            if came := stream.after(undone_ns - MARGIN_NS):
                return Sight(SEEN, max(came[0].at_ns, undone_ns))
            if self._clock.boot_ns() >= deadline_ns:
                cut = link.cut
                return unverified(f"{cut.source} → {cut.target}: no beacon came for a second after the end")
            self._beacons.ask(stream)
            stream.arrived.clear()
            try:
                await asyncio.wait_for(stream.arrived.wait(), ASK_S)
            except TimeoutError:
                continue

    def close(self) -> None:
        """See Watch."""
        self._asking.cancel()
        for stream in self._streams:
            self._beacons.forget(stream)


def _quiet_ns(baseline: Sequence[Arrival], fired_ns: int) -> int:
    times = [arrival.at_ns for arrival in baseline if arrival.at_ns > fired_ns - BEFORE_NS]
    times = times or [arrival.at_ns for arrival in baseline[-1:]]
    longest = max((later - earlier for earlier, later in pairwise([*times, fired_ns])), default=0)
    return min(max(QUIET_NS, 3 * longest), MAX_QUIET_NS)


def _quiet_by_after_ns(stream: Stream, fired_ns: int, undone_ns: int) -> int | None:
    """What came after the end stands for what did not come before: three times what it took, from a far end that was
    there all the time. None: it tells nothing."""
    first = next(iter(stream.after(undone_ns)), None)
    if first is None or first.at_ns - first.up_ns > fired_ns:
        return None
    return max(QUIET_NS, 3 * (first.at_ns - undone_ns))


def watch_links(
    cuts: Iterable[LinkCut],
    node: str,
    peers: Peers,
    *,
    beacons: Beacons,
    clock: Clock,
    term_ns: tuple[int, int],
    also_cut: Callable[[LinkCut], bool],
) -> LinkWatch:
    """Watches at most three of the cuts that arrive at ``node`` from nodes that have an agent of ours."""
    links: list[_Link] = []
    blind: dict[str, None] = {}
    for cut in cuts:
        why, mode = _how(cut, node, peers)
        if mode is None:
            blind[why] = None
        elif len(links) < MAX_PEERS:
            addresses, port = peers[cut.source]
            streams = [
                beacons.want(address, port, mode, dense_around(term_ns), term_ns[1] + 2 * AFTER_NS)
                for address in list(addresses)[:MAX_ADDRESSES]
            ]
            links.append(_Link(cut, streams))
    return LinkWatch(beacons, clock, term_ns, links=links, blind=[] if links else list(blind), also_cut=also_cut)


def _how(cut: LinkCut, node: str, peers: Peers) -> tuple[str, Mode | None]:
    """By which beacons a cut is seen; or why by none."""
    name = f"{cut.source} → {cut.target}"
    if cut.target != node:
        return f"{name}: seen only where it arrives", None
    if cut.source not in peers or not peers[cut.source][1] or not peers[cut.source][0]:
        return f"{name}: {cut.source} has no agent of ours to send beacons", None
    if cut.protocol == "icmp":
        return "", "icmp"
    if cut.protocol == "tcp" or (cut.protocol == "any" and cut.new_only):
        return "", "tcp"
    return "", "udp-new" if cut.new_only else "udp"
