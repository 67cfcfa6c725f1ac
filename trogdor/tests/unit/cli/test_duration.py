"""Durations and times of day as people type them."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trogdor.cli.duration import now_ms, parse_duration_ms, parse_instant_ms, say_duration


@pytest.mark.parametrize(
    ("text", "ms"), [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1h30m", 5_400_000), ("1.5s", 1500), ("0s", 0)]
)
def test_durations(text: str, ms: int) -> None:
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize("text", ["", "30", "s", "-5s", "5 s", "5d", "1s2", "1e3s", "ms5"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="write 500ms, 30s"):
        parse_duration_ms(text)


@given(st.integers(0, 10**9))
def test_what_is_said_reads_back(ms: int) -> None:
    assert parse_duration_ms(say_duration(ms)) == ms


def test_a_time_of_day_is_the_next_one() -> None:
    for text in ("00:00", "12:30:05", "23:59:59"):
        at_ms = parse_instant_ms(text)
        assert -1000 <= at_ms - now_ms() <= 25 * 3_600_000
        assert datetime.fromtimestamp(at_ms / 1000).strftime("%H:%M:%S").startswith(text)


def test_an_iso_time_with_a_zone() -> None:
    assert parse_instant_ms("1970-01-01T01:00:00+01:00") == 0


@pytest.mark.parametrize("text", ["25:00", "noon", "", "2026-13-01"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="write 14:30"):
        parse_instant_ms(text)
