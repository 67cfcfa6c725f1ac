"""How far workloads have come, sampled while they run, and what that is a second."""

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from trogdor.timeline.model import Rate

COUNTERS = ("totalSent", "totalMessagesReceived", "totalReceived", "count", "totalConnections")
"""Where workloads' statuses count what they have done: upstream's words."""
MEAN = "averageLatencyMs"

EVERY_MS = 1000
"""A worker is sampled no more often than this, one interval with the next."""
MOST_SAMPLES = 1024
"""Of one worker; when there are as many, every other one is dropped."""


class Sample(NamedTuple):
    """What a workload has done from its beginning up to a moment; ``mean_ms`` of its latencies is NaN if unknown."""

    at_ms: float
    total: float
    mean_ms: float = math.nan


def sample_of(status: Any, at_ms: float) -> Sample | None:
    """What a workload's status says, or None. A map of several workers' statuses is their sum."""
    if not isinstance(status, dict):
        return None
    counter = next((status[name] for name in COUNTERS if name in status), None)
    if isinstance(counter, int | float):
        mean_ms = status.get(MEAN)
        return Sample(at_ms, float(counter), float(mean_ms) if isinstance(mean_ms, int | float) else math.nan)
    parts = [sample_of(part, at_ms) for part in status.values() if isinstance(part, dict)]
    known = [part for part in parts if part is not None]
    if not known:
        return None
    count = sum(part.total for part in known)
    return Sample(at_ms, count, sum(part.total * part.mean_ms for part in known) / count if count else math.nan)


def sampled(event: Mapping[str, Any]) -> Sample | None:
    """The sample that an event of the coordinator is, or that its status makes, as a workload's end does."""
    at_ms = float(event.get("atMs", 0))
    return sample_of(event, at_ms) if event.get("type") == "sample" else sample_of(event.get("status"), at_ms)


class Track:
    """The samples of one worker, from its beginning to now: at most ``MOST_SAMPLES``, ever further apart."""

    def __init__(self) -> None:
        self._values = array("d")
        self._stride = 1
        self._since = 0
        self._due_ms = -math.inf

    def is_due(self, now_ms: float) -> bool:
        """Whether another sample may be taken; then the next is due a second later. By a clock that is never set."""
        if now_ms < self._due_ms:
            return False
        self._due_ms = max(self._due_ms, now_ms - EVERY_MS / 2) + EVERY_MS  # one that is late makes none of them early
        return True

    def add(self, sample: Sample) -> None:
        """Keeps a sample."""
        self._since += 1
        if self._since < self._stride:
            return
        self._since = 0
        self._values.extend(sample)
        if len(self._values) >= len(sample) * MOST_SAMPLES:
            kept = array("d")
            for each in list(self)[::2]:
                kept.extend(each)
            self._values, self._stride = kept, 2 * self._stride

    def overlaps(self, begin_ms: float, end_ms: float) -> bool:
        """Whether there are samples of that time."""
        return len(self._values) > 0 and self._values[0] <= end_ms and self._values[-3] >= begin_ms

    def __iter__(self) -> Iterator[Sample]:
        return map(Sample, self._values[0::3], self._values[1::3], self._values[2::3])


def rates(name: str, samples: Iterable[Sample]) -> Iterator[Rate]:
    """How fast a workload went between each sample and the next, and how long what it did took; nothing if unknown."""
    pairs = [(before, after) for before, after in pairwise(samples) if after.at_ms > before.at_ms]
    per_s = [(after.at_ms, _per_second(before, after)) for before, after in pairs]
    if per_s:
        yield Rate(name, tuple(per_s))
    took = [(after.at_ms, _took_ms(before, after)) for before, after in pairs if after.total > before.total]
    known = tuple(point for point in took if not math.isnan(point[1]))
    if known:
        yield Rate(name, known, "ms")


def _per_second(before: Sample, after: Sample) -> float:
    return max(0.0, after.total - before.total) * 1000 / (after.at_ms - before.at_ms)


def _took_ms(before: Sample, after: Sample) -> float:
    """The mean of what was done between two samples, from the means of all that was done up to each."""
    so_far = before.total * before.mean_ms if before.total else 0.0
    took_ms = (after.total * after.mean_ms - so_far) / (after.total - before.total)
    return 0.0 if took_ms < 0 else took_ms  # NaN stays NaN
