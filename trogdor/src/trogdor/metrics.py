"""What both daemons count, and how it is told to Prometheus.

Counting is plain numbers. prometheus-client is imported by the first scrape, so that a daemon nobody scrapes never
loads it.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import Metric

    from trogdor.http.message import Response

BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
RAN_ITS_TIME = frozenset({"end", "kernel", "warden"})
"""What undoes a fault at its end, and not because someone wanted it to end before."""


class Histogram:
    """How often which duration was seen, in seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """One more; what came too early counts as 0."""
        seconds = max(seconds, 0.0)
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def family(self, name: str, words: str) -> "Metric":
        """For the registry."""
        from prometheus_client.core import HistogramMetricFamily

        bounds = [*map(str, BOUNDS_S), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(self._counts)), strict=True))
        return HistogramMetricFamily(name, words, buckets=buckets, sum_value=self._sum_s)


class FaultFigures:
    """Of each fault that is over: its verdict, how late it was seen to begin, how late to be gone."""

    def __init__(self) -> None:
        self._start = Histogram()
        self._heal = Histogram()
        self._verdicts: Counter[str] = Counter()

    def over(self, status: Any) -> None:
        """A fault has ended on one node; ``status`` as ``trogdor.wire.status.FaultStatus`` in JSON."""
        if not isinstance(status, Mapping) or "verdict" not in status:
            return
        self._verdicts[str(status["verdict"]).partition(":")[0]] += 1
        asked, seen = status.get("askedStartMs"), status.get("seenStartMs")
        if asked is not None and seen is not None:
            self._start.observe((seen - asked) / 1000)
        asked, seen = status.get("askedEndMs"), status.get("seenEndMs")
        if asked is not None and seen is not None and status.get("undoneBy") in RAN_ITS_TIME:
            self._heal.observe((seen - asked) / 1000)

    def families(self) -> "Iterable[Metric]":
        """For the registry."""
        yield self._start.family("trogdor_fault_start_lag_seconds", "From the instant asked for until it was seen.")
        yield self._heal.family(
            "trogdor_fault_heal_lag_seconds", "From the end asked for until it was seen to be gone."
        )
        words = "Faults that are over, by verdict, one a node."
        yield counter("trogdor_fault_verdicts", words, dict(self._verdicts), "verdict")


Values = float | Mapping[str, float] | Mapping[tuple[str, ...], float]
"""One value, or several by their label, or by their labels."""


def gauge(name: str, words: str, values: Values, *labels: str) -> "Metric":
    """A gauge, with the names of its labels."""
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, words, labels=labels)
    for key, value in _by_labels(values):
        family.add_metric(key, value)
    return family


def counter(name: str, words: str, values: Values, *labels: str) -> "Metric":
    """A counter, with the names of its labels; ``_total`` is appended to its name."""
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, words, labels=labels)
    for key, value in _by_labels(values):
        family.add_metric(key, value)
    return family


def _by_labels(values: Values) -> Iterator[tuple[list[str], float]]:
    if isinstance(values, float | int):
        yield [], values
        return
    for key, value in values.items():
        yield [key] if isinstance(key, str) else list(key), value


class _Families:
    """What a registry collects from."""

    def __init__(self, families: "Iterable[Metric]") -> None:
        self._families = families

    def collect(self) -> "Iterable[Metric]":
        return self._families


def response(families: "Iterable[Metric]") -> "Response":
    """The answer to a scrape, in Prometheus' text format; with the process's own memory, CPU and open files."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

    from trogdor.http.message import Response

    registry = CollectorRegistry()
    registry.register(_Families(list(families)))
    ProcessCollector(registry=registry)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)
