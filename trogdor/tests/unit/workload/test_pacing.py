"""Rates are exact over every window: never more than its share, nothing made up for later."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trogdor.spec import generators as g
from trogdor.workload.pacing import Pace, Windows, per_second, throughput, unlimited

MS = 1_000_000


class Clock:
    """A clock that only idling moves."""

    def __init__(self) -> None:
        self.ns = 12_345

    def idle(self, seconds: float) -> None:
        self.ns += max(round(seconds * 1e9), 1)


def sent_in_windows(windows: Windows, window_ms: int, total: int, most: int = 7) -> list[int]:
    clock = Clock()
    began = clock.ns
    pace = Pace(windows, clock.idle, lambda: False, lambda: clock.ns)
    sent: dict[int, int] = {}
    done = 0
    while done < total:
        count = pace.take(min(most, total - done))
        index = (clock.ns - began) // (window_ms * MS)
        sent[index] = sent.get(index, 0) + count
        done += count
    return [sent.get(index, 0) for index in range(max(sent) + 1)]


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(1000, [100, 100, 100]), (15, [1, 2, 1, 2, 1, 2]), (10, [1, 1, 1]), (3, [0, 0, 0, 1, 0, 0, 1, 0, 0, 1])],
)
def test_each_window_gets_its_exact_share(rate: float, expected: list[int]) -> None:
    assert sent_in_windows(per_second(rate), 100, sum(expected)) == expected


@given(rate=st.integers(1, 100_000), seconds=st.integers(1, 3))
def test_a_whole_second_gets_the_whole_rate(rate: int, seconds: int) -> None:
    sent = sent_in_windows(per_second(rate), 100, rate * seconds, most=1 << 20)
    assert sum(sent[: 10 * seconds]) == rate * seconds
    assert max(sent) - min(sent[: 10 * seconds]) <= 1


def test_what_a_slow_sender_missed_is_not_made_up_for() -> None:
    clock = Clock()
    pace = Pace(per_second(1000), clock.idle, lambda: False, lambda: clock.ns)
    assert pace.take(1000) == 100
    clock.ns += 950 * MS
    assert pace.take(1000) == 100


def test_a_stopped_workload_waits_for_nothing() -> None:
    clock = Clock()
    pace = Pace(per_second(10), clock.idle, lambda: clock.ns > 50 * MS, lambda: clock.ns)
    assert [pace.take(1), pace.take(1)] == [1, 0]


def test_unlimited_means_all_at_once() -> None:
    assert sent_in_windows(unlimited(), 1000, 10_000_000, most=1 << 30) == [10_000_000]


@pytest.mark.parametrize(("messages", "window_ms", "expected"), [(3, 20, [3, 3, 3]), (5, 0, [5, 5])])
def test_constant_throughput_is_so_many_in_each_window(messages: int, window_ms: int, expected: list[int]) -> None:
    wanted = g.ConstantThroughput(messages_per_window=messages, window_size_ms=window_ms)
    assert sent_in_windows(throughput(wanted), window_ms or 100, sum(expected)) == expected


def test_constant_throughput_of_nothing_is_unthrottled() -> None:
    assert sent_in_windows(throughput(g.ConstantThroughput(messages_per_window=0)), 100, 10_000, 1 << 30) == [10_000]


def drawn_from(*values: float) -> Callable[[float, float], float]:
    left = list(values)
    return lambda mean, deviation: left.pop(0)


def test_gaussian_throughput_draws_anew_every_so_many_windows_and_never_less_than_one() -> None:
    wanted = g.GaussianThroughput(
        messages_per_window_average=10, messages_per_window_deviation=4, windows_until_rate_change=2, window_size_ms=50
    )
    windows = throughput(wanted, drawn_from(0.5, -1.9, -9))
    assert sent_in_windows(windows, 50, 12 + 12 + 3 + 3 + 1 + 1) == [12, 12, 3, 3, 1, 1]
