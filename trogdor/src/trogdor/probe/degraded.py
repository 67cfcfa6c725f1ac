"""What the watches of degraded links have in common: each link by itself, and the beacons of those that arrive here."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from trogdor.instant import Clock
from trogdor.probe.beacons import Beacons, Mode, Stream
from trogdor.probe.network import AFTER_NS, GONE_NS, MAX_PEERS, Peers, ask_until_they_come, wait_until
from trogdor.probe.sight import Sight, summed_up, unverified


def mode_of(protocol: str) -> Mode:
    """By which beacons a link's packets of this protocol are judged: those of all by UDP's."""
    modes: dict[str, Mode] = {"tcp": "tcp", "icmp": "icmp"}
    return modes.get(protocol, "udp")


class Expected(Protocol):
    """A link of which something is expected."""

    @property
    def source(self) -> str: ...

    @property
    def target(self) -> str: ...


AnyExpected = TypeVar("AnyExpected", bound=Expected)
AnyLink = TypeVar("AnyLink")


class Blind(Exception):
    """Why a link is not watched."""


def watched(
    links: Iterable[AnyExpected],
    node: str,
    peers: Peers,
    watch: Callable[[AnyExpected, str, int], AnyLink],
    *,
    leaving: bool = False,
) -> tuple[list[AnyLink], list[str]]:
    """At most three of the links that arrive at ``node``, or leave it, at whose other end there is an agent of ours.

    ``watch(link, address, port)`` watches one; the two are of that agent's probe. It may raise Blind. Answers what it
    made of each, and why there are links that are not watched.
    """
    found: list[AnyLink] = []
    blind: dict[str, None] = {}
    for link in links:
        near, far = (link.source, link.target) if leaving else (link.target, link.source)
        addresses, port = peers.get(far, ((), 0))
        try:
            if near != node or not addresses or not port:
                raise Blind(f"{far} has no agent of ours to {'tell what arrives' if leaving else 'send beacons'}")
            if len(found) < MAX_PEERS:
                found.append(watch(link, addresses[0], port))
        except Blind as why:
            blind[f"{link.source} → {link.target}: {why}"] = None
    return found, list(blind)


class Watched(Protocol):
    """One link, and the beacons that come over it."""

    @property
    def stream(self) -> Stream: ...


Link = TypeVar("Link", bound=Watched)


class LinksWatch(ABC, Generic[AnyLink]):
    """Watches what one fault does to links, each by itself."""

    def __init__(self, beacons: Beacons, clock: Clock, links: Sequence[AnyLink], blind: Sequence[str]) -> None:
        """``blind``: why some links are not watched."""
        self._beacons = beacons
        self._clock = clock
        self._links = links
        self._blind = [unverified(why) for why in blind]
        self._holds: list[AnyLink] = []
        """On which the fault was seen to hold."""

    async def seen(self, fired_ns: int) -> Sight:
        """See Watch."""
        return summed_up([*self._blind, *await asyncio.gather(*(self._seen(each, fired_ns) for each in self._links))])

    @abstractmethod
    async def _seen(self, link: AnyLink, fired_ns: int) -> Sight:
        """Whether the fault took on a link."""

    def looked_back(self, fired_ns: int, undone_ns: int) -> Sight:
        """See Watch."""
        return unverified("too short to be seen")

    async def gone(self, undone_ns: int) -> Sight:
        """See Watch."""
        if not self._holds:
            return unverified("it was not seen to hold")
        return summed_up(await asyncio.gather(*(self._gone(each, undone_ns) for each in self._holds)))

    @abstractmethod
    async def _gone(self, link: AnyLink, undone_ns: int) -> Sight:
        """Whether a link is as before."""


class DegradedWatch(LinksWatch[Link]):
    """Watches links where they arrive, at this node: by a stream of beacons each."""

    def __init__(
        self, beacons: Beacons, clock: Clock, term_ns: tuple[int, int], links: Sequence[Link], blind: Sequence[str]
    ) -> None:
        super().__init__(beacons, clock, links, blind)
        streams = [each.stream for each in links]
        self._asking = asyncio.create_task(ask_until_they_come(beacons, streams, clock, term_ns))

    async def based(self, within_s: float) -> None:
        """See Watch."""
        await wait_until(lambda: all(each.stream.arrivals for each in self._links), within_s)

    def _listen_again(self, stream: Stream, longest_ns: int = GONE_NS) -> int:
        """Wants beacons often from now until the instant returned, to see the end of the fault."""
        now_ns = self._clock.boot_ns()
        deadline_ns = now_ns + max(GONE_NS, longest_ns)
        stream.dense, stream.end_ns = [(now_ns, deadline_ns)], deadline_ns + AFTER_NS
        return deadline_ns

    def close(self) -> None:
        """See Watch."""
        self._asking.cancel()
        for each in self._links:
            self._beacons.forget(each.stream)
