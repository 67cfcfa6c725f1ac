"""How many messages may go, and when: so many in each window of time, never more, and nothing made up for later."""

import random
import time
from collections.abc import Callable

from trogdor.spec import generators as g

THROTTLE_WINDOW_MS = 100
"""Upstream's period for every rate per second (THROTTLE_PERIOD_MS)."""

DEFAULT_WINDOW_MS = 100
"""Upstream's window where a throughput gives none."""

UNLIMITED = 1 << 62

Quota = Callable[[int], int]
"""``quota(window)``: how many messages may go in the window of this number; asked once for each, in order."""


class Windows:
    """Time cut into equal windows from the first question on, with a quota for each."""

    def __init__(self, window_ms: int, quota: Quota) -> None:
        self._window_ns = window_ms * 1_000_000
        self._quota = quota
        self._start_ns = -1
        self._index = -1
        self._left = 0

    def left(self, now_ns: int) -> int:
        """How many may still go in the window that ``now_ns`` falls in."""
        if self._start_ns < 0:
            self._start_ns = now_ns
        index = (now_ns - self._start_ns) // self._window_ns
        if index > self._index:
            self._index, self._left = index, self._quota(index)
        return self._left

    def spend(self, count: int) -> None:
        """Takes ``count`` from what is left. Raises ValueError when that is less."""
        if count > self._left:
            raise ValueError(f"{count} of the {self._left} left")
        self._left -= count

    @property
    def next_ns(self) -> int:
        """When the next window begins."""
        return self._start_ns + (self._index + 1) * self._window_ns


def per_second(rate: float, window_ms: int = THROTTLE_WINDOW_MS) -> Windows:
    """``rate`` messages a second: each window gets its exact share, so that 15/s is 1, 2, 1, 2, … in 100 ms.

    Upstream rounds each window's share down to a whole number, at least 1 (WorkerUtils.perSecToPerPeriod).
    """
    return Windows(
        window_ms, lambda index: int(rate * (index + 1) * window_ms // 1000 - rate * index * window_ms // 1000)
    )


def unlimited() -> Windows:
    """As many as can go."""
    return Windows(1000, lambda index: UNLIMITED)


def throughput(wanted: g.Throughput, gauss: Callable[[float, float], float] = random.gauss) -> Windows:
    """The windows of a throughput generator (ConstantThroughputGenerator, GaussianThroughputGenerator)."""
    window_ms = wanted.window_size_ms if wanted.window_size_ms > 0 else DEFAULT_WINDOW_MS
    if isinstance(wanted, g.ConstantThroughput):
        each = wanted.messages_per_window if wanted.messages_per_window > 0 else UNLIMITED
        return Windows(window_ms, lambda index: each)
    drawn, used = 0, wanted.windows_until_rate_change

    def quota(index: int) -> int:
        nonlocal drawn, used
        if used >= wanted.windows_until_rate_change or drawn == 0:
            size = int(gauss(0, 1) * wanted.messages_per_window_deviation) + wanted.messages_per_window_average
            drawn, used = max(size, 1), 0
        used += 1
        return drawn

    return Windows(window_ms, quota)


class Pace:
    """Hands out turns: blocks, through ``idle``, until the window has room.

    ``idle(seconds)`` waits at most so long and may do useful things meanwhile; ``stopped`` ends every wait.
    """

    def __init__(
        self,
        windows: Windows,
        idle: Callable[[float], object],
        stopped: Callable[[], bool],
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._windows, self._idle, self._stopped, self._clock_ns = windows, idle, stopped, clock_ns

    def take(self, most: int) -> int:
        """How many of at most ``most`` messages may go now: at least 1, or 0 once stopped."""
        while not self._stopped():
            now_ns = self._clock_ns()
            left = self._windows.left(now_ns)
            if left > 0:
                count = min(left, most)
                self._windows.spend(count)
                return count
            self._idle((self._windows.next_ns - now_ns) / 1e9)
        return 0
