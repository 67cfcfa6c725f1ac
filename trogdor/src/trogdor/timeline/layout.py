"""Where things come to stand: rows within a lane, ticks of the axis, narrow bars taken together."""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trogdor.compose.fault_set import FaultSet
from trogdor.timeline.model import BAD, Bar, Timeline

MAX_ROWS = 12
"""Rows of one lane; what overlaps more than that is drawn over the last row."""

TICKS_MS = [
    step * unit
    for unit in (1, 10, 100, 1000, 10_000)
    for step in (1, 2, 5)
] + [60_000 * step for step in (1, 2, 5, 10, 30, 60, 120, 360, 720, 1440, 10_080, 43_200, 525_600)]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Placed:
    """A bar in its row of the lane."""

    bar: Bar
    row: int
    last_ms: float
    seen_to_ms: float
    """Where it ended, or the present while it goes on."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Bars too narrow to be told apart."""

    row: int
    begin_ms: float
    end_ms: float
    count: int
    bad: bool


class Layout:
    """Every bar in a row of its node's lane, whatever part of the time is looked at: zooming moves none."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        now_ms = timeline.now_ms if timeline.now_ms is not None else timeline.end_ms
        by_node: dict[str, list[Bar]] = {node: [] for node in timeline.nodes}
        for bar in timeline.bars:
            by_node[bar.node].append(bar)
        self._lanes = {node: _placed(bars, now_ms) for node, bars in by_node.items()}
        self.rows = {node: 1 + max((p.row for p in lane), default=0) for node, lane in self._lanes.items()}
        self._ordered = {
            node: FaultSet(lane, lambda p: p.bar.first_ms, lambda p: max(p.last_ms, p.bar.first_ms + 1e-3))
            for node, lane in self._lanes.items()
        }

    def between(self, node: str, begin_ms: float, end_ms: float) -> list[Placed]:
        """A lane's bars between two times, by start."""
        return self._ordered[node].between(begin_ms, end_ms)


def clustered(lane: Sequence[Placed], narrow_ms: float) -> tuple[list[Placed], list[Cluster]]:
    """A lane's bars; those shorter than ``narrow_ms``, and as near to each other, become one."""
    wide, clusters = [], []
    open_clusters: dict[int, Cluster] = {}
    for placed in lane:
        first_ms, last_ms = placed.bar.first_ms, placed.last_ms
        if last_ms - first_ms >= narrow_ms:
            wide.append(placed)
            continue
        bad = placed.bar.outcome in BAD
        before = open_clusters.get(placed.row)
        if before is not None and first_ms - before.end_ms <= narrow_ms:
            end_ms = max(before.end_ms, last_ms)
            joined = Cluster(placed.row, before.begin_ms, end_ms, before.count + 1, before.bad or bad)
            open_clusters[placed.row] = joined
            continue
        if before is not None:
            clusters.append(before)
        open_clusters[placed.row] = Cluster(placed.row, first_ms, last_ms, 1, bad)
    return wide, clusters + list(open_clusters.values())


def narrowest_ms(lanes: Iterable[Sequence[Placed]], least_ms: float, most: int) -> float:
    """How long a bar must be, at least ``least_ms``, for no more than ``most`` of all lanes to be so long."""
    lengths = (placed.last_ms - placed.bar.first_ms for lane in lanes for placed in lane)
    longest = heapq.nlargest(most + 1, (length for length in lengths if length >= least_ms))
    return math.nextafter(longest[-1], math.inf) if len(longest) > most else least_ms


def _placed(bars: Sequence[Bar], now_ms: float) -> list[Placed]:
    """Each bar in the first row that is free when it begins."""
    placed = []
    free: list[int] = []
    taken: list[tuple[float, int]] = []
    rows = 0
    for bar in sorted(bars, key=lambda bar: (bar.first_ms, bar.task)):
        while taken and taken[0][0] <= bar.first_ms:
            heapq.heappush(free, heapq.heappop(taken)[1])
        if free:
            row = heapq.heappop(free)
        else:
            row, rows = rows, rows + 1
        last_ms = bar.last_ms(now_ms)
        heapq.heappush(taken, (last_ms, row))
        placed.append(Placed(bar, min(row, MAX_ROWS - 1), last_ms, now_ms if bar.end_ms is None else bar.end_ms))
    return placed


def tick_ms(span_ms: float, width: float, apart: float = 90.0) -> float:
    """The distance of the axis's ticks: a round one that leaves ``apart`` pixels between them."""
    least = span_ms * apart / max(width, 1.0)
    return next((float(step) for step in TICKS_MS if step >= least), float(TICKS_MS[-1]))


def say_offset(at_ms: float, step_ms: float) -> str:
    """A time counted from 0: ``1:05:00``, ``0:07``, ``0:07.250`` where the ticks are finer than a second."""
    whole, ms = divmod(round(at_ms), 1000)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return f"{text}.{ms:03}" if step_ms < 1000 else text
