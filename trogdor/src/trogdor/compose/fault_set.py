"""A set of faults ordered by start and by end: what is active at a time, what starts or ends next."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FaultSet(Generic[Item]):
    """Faults over time, each from its start up to but not including its end.

    Built once in O(n log n); ``starts_next`` and ``ends_next`` cost O(log n), ``active`` and ``between``
    O(k log n) for k answers. Iterating goes by start.
    """

    def __init__(self, items: Iterable[Item], start: Callable[[Item], float], end: Callable[[Item], float]) -> None:
        self._items = sorted(items, key=lambda item: (start(item), end(item)))
        self._starts = [start(item) for item in self._items]
        self._ends = [end(item) for item in self._items]
        self._by_end = sorted(self._items, key=end)
        self._sorted_ends = sorted(self._ends)
        self._last_end = _latest_below(self._ends)

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def active(self, at: float) -> list[Item]:
        """Those with start ≤ ``at`` < end, by start."""
        return self._ending_after(at, bisect_right(self._starts, at))

    def between(self, begin: float, end: float) -> list[Item]:
        """Those active at any time from ``begin`` up to but not including ``end``, by start."""
        return self._ending_after(begin, bisect_left(self._starts, end))

    def starts_next(self, after: float) -> Item | None:
        """The first to start later than ``after``."""
        index = bisect_right(self._starts, after)
        return self._items[index] if index < len(self._items) else None

    def ends_next(self, after: float) -> Item | None:
        """The first to end later than ``after``."""
        index = bisect_right(self._sorted_ends, after)
        return self._by_end[index] if index < len(self._by_end) else None

    def most_at_once(self) -> int:
        """The most that are ever active at the same time."""
        return max(
            (begun + 1 - bisect_right(self._sorted_ends, start) for begun, start in enumerate(self._starts)), default=0
        )

    def _ending_after(self, at: float, first_not_started: int) -> list[Item]:
        """Of the first so many by start, those that end after ``at``: a walk down the tree of latest ends."""
        found: list[Item] = []
        size = len(self._last_end) // 2
        walk = [(1, 0, size)]
        while walk:
            node, first, width = walk.pop()
            if first >= first_not_started or self._last_end[node] <= at:
                continue
            if node >= size:
                found.append(self._items[first])
            else:
                half = width // 2
                walk += ((2 * node + 1, first + half, half), (2 * node, first, half))
        return found


def _latest_below(ends: list[float]) -> list[float]:
    """A binary tree in a list, its root at 1: each node the latest end among its leaves."""
    size = 1 << max(0, len(ends) - 1).bit_length()
    tree = [float("-inf")] * size + ends + [float("-inf")] * (size - len(ends))
    for node in range(size - 1, 0, -1):
        tree[node] = max(tree[2 * node], tree[2 * node + 1])
    return tree
