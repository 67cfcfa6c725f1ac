"""Latencies are summed up in bounded memory, exactly up to 16 s and to 0.02 % above."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trogdor.workload.histogram import Histogram, float32


def of(*values: int) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


def test_an_empty_histogram_says_zero() -> None:
    assert (of().mean, of().percentile(0.99), of().samples) == (0.0, 0, 0)


def test_percentiles_are_the_values_at_which_upstream_stops_counting() -> None:
    histogram = of(*range(1, 101))
    assert [histogram.percentile(fraction) for fraction in (0.5, 0.95, 0.99)] == [50, 95, 99]
    assert histogram.mean == 50.5


def test_a_group_counts_as_often_as_it_has_messages() -> None:
    histogram = of(5)
    histogram.record(100, 99)
    assert (histogram.samples, histogram.percentile(0.5), histogram.total) == (100, 100, 9905)


@given(st.lists(st.integers(0, 10_000), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
def test_up_to_ten_seconds_every_percentile_is_exact(values: list[int], fraction: float) -> None:
    at = int(len(values) * fraction)
    expected = sorted(values)[at - 1] if at else min(values)
    assert of(*values).percentile(fraction) == expected


@given(st.integers(0, 2**62 - 1))
def test_a_large_value_is_off_by_less_than_its_bucket(value: int) -> None:
    found = of(value).percentile(0.5)
    assert 0 <= value - found <= value / 8192


def test_memory_is_bounded_whatever_is_recorded() -> None:
    histogram = Histogram()
    for value in range(0, 1 << 21, 16):
        histogram.record(value)
    assert len(histogram._counts) < 100_000


@pytest.mark.parametrize(("value", "shown"), [(0.0, 0.0), (50.5, 50.5), (100.1, 100.1), (1 / 3, 0.33333334)])
def test_a_mean_shows_the_digits_of_a_java_float(value: float, shown: float) -> None:
    assert float32(value) == shown


@given(st.floats(0, 2.0**100, width=32))
def test_no_digit_of_a_float_is_lost(value: float) -> None:
    assert struct.pack("f", float32(value)) == struct.pack("f", value)
