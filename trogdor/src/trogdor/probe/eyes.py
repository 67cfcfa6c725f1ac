"""All probes of one node, and what they know together: which expectations hold now, of all faults."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from trogdor.instant import Clock
from trogdor.probe.beacons import Beacons
from trogdor.probe.expect import Expectation, LinkCut, ProcessStopped
from trogdor.probe.sight import SEEN, Sight, Watch, summed_up

if TYPE_CHECKING:
    from trogdor.probe.network import Peers


class Eyes:
    """The probes of one node. ``open`` in its namespaces, ``start`` on the event loop."""

    def __init__(self, node: str, clock: Clock, entered: Callable[[], AbstractContextManager[None]]) -> None:
        self._node = node
        self._clock = clock
        self._beacons = Beacons(clock)
        self._beacons.open(entered)
        self._holding: list[tuple[Expectation, object]] = []

    @property
    def port(self) -> int:
        """The probe port, UDP and TCP."""
        return self._beacons.port

    def start(self) -> None:
        """Answers from now on."""
        self._beacons.start()

    def close(self) -> None:
        """Stops to answer."""
        self._beacons.close()

    def watch(self, expect: Sequence[Expectation], start_ns: int, end_ns: int, peers: "Peers") -> Watch:
        """Watches what one fault should do."""
        return _Both(self, expect, (start_ns, end_ns), peers)

    def hold(self, expect: Sequence[Expectation], owner: object) -> None:
        """From now on these hold, by ``owner``."""
        self._holding += [(each, owner) for each in expect]

    def let_go(self, owner: object) -> None:
        """They do not hold by ``owner`` any more."""
        self._holding = [(each, holder) for each, holder in self._holding if holder is not owner]

    def held_by_another(self, expected: Expectation, owner: object) -> bool:
        """Whether the same is held by another fault now."""
        return any(holder is not owner and _covers(each, expected) for each, holder in self._holding)

    def parts(self, both: "_Both", term_ns: tuple[int, int], peers: "Peers") -> list[Watch]:
        """The watches for each kind of expectation."""
        from trogdor.probe.watches import watches

        def another(each: Expectation) -> bool:
            return self.held_by_another(each, both)

        return watches(
            both.expect,
            self._node,
            peers,
            beacons=self._beacons,
            clock=self._clock,
            term_ns=term_ns,
            another=another,
        )


def _covers(held: Expectation, asked: Expectation) -> bool:
    if isinstance(held, LinkCut) and isinstance(asked, LinkCut):
        whole = held.protocol == "any" and not held.ports and not held.new_only
        return (held.source, held.target) == (asked.source, asked.target) and (whole or held == asked)
    if isinstance(held, ProcessStopped) and isinstance(asked, ProcessStopped):
        return (held.pid, held.started) == (asked.pid, asked.started)
    return held == asked


class _Both:
    """Watches everything that one fault should do."""

    def __init__(self, eyes: Eyes, expect: Sequence[Expectation], term_ns: tuple[int, int], peers: "Peers") -> None:
        self.expect = tuple(expect)
        self._eyes = eyes
        self._parts = eyes.parts(self, term_ns, peers)

    async def based(self, within_s: float) -> None:
        await asyncio.gather(*(part.based(within_s) for part in self._parts))

    async def seen(self, fired_ns: int) -> Sight:
        self._eyes.hold(self.expect, self)
        return summed_up(await asyncio.gather(*(part.seen(fired_ns) for part in self._parts)))

    def looked_back(self, fired_ns: int, undone_ns: int) -> Sight:
        return summed_up([part.looked_back(fired_ns, undone_ns) for part in self._parts])

    async def broken(self) -> str:
        if not self._parts:
            await asyncio.Event().wait()
        waiting = [asyncio.create_task(part.broken()) for part in self._parts]
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in waiting:
                task.cancel()

    async def gone(self, undone_ns: int) -> Sight:
        self._eyes.let_go(self)
        if not self._parts:
            return Sight(SEEN)
        return summed_up(await asyncio.gather(*(part.gone(undone_ns) for part in self._parts)))

    def close(self) -> None:
        self._eyes.let_go(self)
        for part in self._parts:
            part.close()
