"""Schedules drawn by a seed: pure functions from a random schedule and a topology to tasks at their times.

All is whole numbers from SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014), which
is five lines in any language. Python's own ``random`` promises only ``random()`` itself across versions, not what is
made of it, and floating point logarithms differ between C libraries in their last bit.

Whatever changes what a seed draws raises ``trogdor.spec.schedule.FORMAT_VERSION``; a golden file in the tests notices.
"""

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

from trogdor.spec.schedule import (
    ConstantLength,
    ExponentialLength,
    FixedScheduleSpec,
    Length,
    NodeChoice,
    OneOfLength,
    RandomScheduleSpec,
    ScheduledTask,
    UniformLength,
)
from trogdor.spec.template import Fill, Names, compiled
from trogdor.topology import Topology

_MASK = 2**64 - 1


class SplitMix64:
    """64 random bits at a time, the same everywhere for the same seed."""

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def bits(self) -> int:
        """The next number from 0 to 2^64 - 1."""
        self._state = mixed = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)

    def below(self, limit: int) -> int:
        """A number from 0 to ``limit`` - 1, each as likely; what would be uneven is drawn again."""
        even = 2**64 - 2**64 % limit
        while (drawn := self.bits()) >= even:
            pass
        return drawn % limit

    def some(self, items: Sequence[str], count: int) -> list[str]:
        """``count`` of the items in the order drawn, each as likely."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(count)]

    def exponential(self, mean: int) -> int:
        """Exponential with this mean, rounded down: von Neumann's way (1951), by comparing uniform numbers alone."""
        whole = 0
        while True:
            first = least = self.bits()
            run = 1
            while (drawn := self.bits()) < least:
                least = drawn
                run += 1
            if run % 2:
                return mean * (whole << 64 | first) >> 64
            whole += 1


def drawer(length: Length) -> Callable[[SplitMix64], int]:
    """What draws lengths in ms from a distribution."""
    match length:
        case ConstantLength(ms=ms):
            return lambda bits: ms
        case UniformLength(min_ms=least, max_ms=most):
            return lambda bits: least + bits.below(most - least + 1)
        case ExponentialLength(mean_ms=mean, max_ms=given):
            longest = given or 10 * mean
            return lambda bits: min(bits.exponential(mean), longest)
        case OneOfLength(ms=choices):
            return lambda bits: choices[bits.below(len(choices))]


class Drawn(NamedTuple):
    """One fault of a schedule: which template, on which nodes, from when to when in ms after the schedule's start."""

    start_ms: int
    end_ms: int
    template: int
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class _Pool:
    """What a template is drawn from."""

    length: Callable[[SplitMix64], int]
    """Draws one."""
    choice: NodeChoice
    eligible: tuple[str, ...]
    rest: tuple[str, ...]
    """Every node that is not excluded: what ``$others`` are taken from."""
    filled: Fill


def draw(spec: RandomScheduleSpec, topology: Topology) -> list[Drawn]:
    """The faults of a schedule, by start. Raises SpecError when the schedule cannot be drawn from these nodes."""
    spec.check(topology)
    return list(_draw(spec, _pools(spec, topology)))


def fixed(spec: RandomScheduleSpec, topology: Topology) -> FixedScheduleSpec:
    """The schedule with its faults drawn, as tasks at their times. Raises SpecError as ``draw``."""
    spec.check(topology)
    pools = _pools(spec, topology)
    return FixedScheduleSpec.model_construct(
        start_ms=spec.start_ms,
        duration_ms=spec.duration_ms,
        format_version=spec.format_version,
        seed=spec.seed,
        tasks=tuple(_tasks(_draw(spec, pools), pools)),
        check_command=spec.check_command,
    )


def _pools(spec: RandomScheduleSpec, topology: Topology) -> list[_Pool]:
    agents = topology.agents()
    pools = []
    for template in spec.faults:
        choice = spec.choice(template)
        banned = frozenset(spec.nodes.never) | frozenset(choice.never)
        pools.append(
            _Pool(
                length=drawer(template.length or spec.length),
                choice=choice,
                eligible=tuple(choice.eligible(topology, banned)),
                rest=tuple(name for name in agents if name not in banned),
                filled=compiled(template.spec),
            )
        )
    return pools


def _tasks(faults: Iterable[Drawn], pools: list[_Pool]) -> Iterator[ScheduledTask]:
    """Faults alike in template and nodes share one spec."""
    specs: dict[tuple[int, tuple[str, ...]], dict[str, Any]] = {}
    for start_ms, end_ms, template, nodes in faults:
        if (spec := specs.get((template, nodes))) is None:
            pool = pools[template]
            others = [name for name in pool.rest if name not in nodes]
            spec = specs[template, nodes] = pool.filled(Names(nodes, others))
        yield ScheduledTask.model_construct(at_ms=start_ms, duration_ms=end_ms - start_ms, spec=spec)


def _draw(spec: RandomScheduleSpec, pools: list[_Pool]) -> Iterator[Drawn]:
    """Each of the ``atOnce`` turns pauses, has a fault, pauses again. Faults are drawn in the order they start in."""
    bits = SplitMix64(spec.seed)
    weights = list(accumulate(template.weight for template in spec.faults))
    last_ms = spec.duration_ms - spec.quiet_ms
    pause = drawer(spec.pause)
    starts = [(pause(bits), turn) for turn in range(spec.at_once)]
    heapq.heapify(starts)
    in_force: dict[int, Drawn] = {}
    for _ in range(spec.max_faults):
        start_ms, turn = starts[0]
        if start_ms >= last_ms:
            return
        template = bisect_right(weights, bits.below(weights[-1]))
        pool = pools[template]
        others = [fault for fault in in_force.values() if fault.end_ms > start_ms]
        nodes = _draw_nodes(pool, others, bits)
        end_ms = min(start_ms + max(1, pool.length(bits)), last_ms)
        in_force[turn] = Drawn(start_ms, end_ms, template, nodes)
        heapq.heapreplace(starts, (end_ms + pause(bits), turn))
        yield in_force[turn]


def _draw_nodes(pool: _Pool, in_force: list[Drawn], bits: SplitMix64) -> tuple[str, ...]:
    size = len(pool.eligible)
    match pool.choice.count:
        case "all":
            return pool.eligible
        case "minority":
            return _draw_minority(pool.eligible, in_force, bits)
        case "majority":
            count = size // 2 + 1 + bits.below(max(1, (size - 1) // 2))
        case count:
            pass
    return tuple(sorted(bits.some(pool.eligible, count)))


def _draw_minority(eligible: tuple[str, ...], in_force: list[Drawn], bits: SplitMix64) -> tuple[str, ...]:
    most = (len(eligible) - 1) // 2
    busy = {name for fault in in_force for name in fault.nodes if name in eligible}
    wanted = bits.some(eligible if len(busy) < most else sorted(busy), 1 + bits.below(most))
    drawn = []
    for name in wanted:
        if name in busy or len(busy) < most:
            busy.add(name)
            drawn.append(name)
    return tuple(sorted(drawn))
