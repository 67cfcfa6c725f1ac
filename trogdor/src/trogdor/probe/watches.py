"""The watches of what one fault should do, one for each kind of it. Imported once there is something to see."""

from collections.abc import Callable, Sequence
from functools import partial

from trogdor.instant import Clock
from trogdor.probe.beacons import Beacons
from trogdor.probe.delay import watch_delays
from trogdor.probe.expect import (
    Expectation,
    FileExpectation,
    LinkCut,
    LinkLossy,
    LinkNarrow,
    LinkReordered,
    LinkSlow,
    ProcessGone,
    ProcessStopped,
)
from trogdor.probe.files import eye_for
from trogdor.probe.killed import KillWatch
from trogdor.probe.looking import LookingWatch
from trogdor.probe.lossy import watch_losses
from trogdor.probe.narrow import watch_rates
from trogdor.probe.network import Peers, watch_links
from trogdor.probe.process import ProcessEye
from trogdor.probe.reordered import watch_order
from trogdor.probe.sight import Watch


def watches(
    expect: Sequence[Expectation],
    node: str,
    peers: Peers,
    *,
    beacons: Beacons,
    clock: Clock,
    term_ns: tuple[int, int],
    another: Callable[[Expectation], bool],
) -> list[Watch]:
    """A watch for each kind of expectation. ``another``: whether another fault holds the same now."""
    found: list[Watch] = []
    if cuts := [each for each in expect if isinstance(each, LinkCut)]:
        found.append(watch_links(cuts, node, peers, beacons=beacons, clock=clock, term_ns=term_ns, also_cut=another))
    if slow := [each for each in expect if isinstance(each, LinkSlow)]:
        found.append(watch_delays(slow, node, peers, beacons=beacons, clock=clock, term_ns=term_ns))
    if lossy := [each for each in expect if isinstance(each, LinkLossy)]:
        found.append(watch_losses(lossy, node, peers, beacons=beacons, clock=clock, term_ns=term_ns))
    if narrow := [each for each in expect if isinstance(each, LinkNarrow)]:
        found.append(watch_rates(narrow, node, peers, beacons=beacons, clock=clock, term_ns=term_ns))
    if reordered := [each for each in expect if isinstance(each, LinkReordered)]:
        found.append(watch_order(reordered, node, peers, beacons=beacons, clock=clock, term_ns=term_ns))
    eyes = [(eye_for(each), partial(another, each)) for each in expect if isinstance(each, FileExpectation)]
    eyes += [(ProcessEye(each), partial(another, each)) for each in expect if isinstance(each, ProcessStopped)]
    if eyes:
        found.append(LookingWatch(eyes, clock, term_ns[1]))
    if kills := [each for each in expect if isinstance(each, ProcessGone)]:
        found.append(KillWatch(kills, clock, term_ns[1]))
    return found
