"""Instants: the right call, in order, once, by clocks that may be off and drift; offsets between clocks."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from trogdor.instant import NS_PER_MS, NS_PER_S, Clock, DriftingClock, FiringThread, Offsets

WAIT_S = 30.0


@pytest.fixture(params=[0, 3, -3], ids=lambda off_s: f"clock{off_s:+}s")
def clock(request: pytest.FixtureRequest) -> Clock:
    return DriftingClock(request.param * NS_PER_S, drift_ppm=200) if request.param else Clock()


@pytest.fixture
def thread(clock: Clock) -> Iterator[FiringThread]:
    thread = FiringThread(clock)
    yield thread
    thread.close()


def test_calls_are_made_in_the_order_of_their_instants_and_never_early(clock: Clock, thread: FiringThread) -> None:
    now, made, done = clock.boot_ns(), [], threading.Event()
    for wait_ms in (60, 20, 40):
        instant = now + wait_ms * NS_PER_MS
        thread.at(instant, lambda wait=wait_ms, at=instant: made.append((wait, clock.boot_ns() >= at)))  # type: ignore[misc]
    thread.at(now + 80 * NS_PER_MS, done.set)
    assert done.wait(WAIT_S)
    assert made == [(20, True), (40, True), (60, True)]


def test_an_instant_that_is_past_is_now(clock: Clock, thread: FiringThread) -> None:
    done = threading.Event()
    thread.at(0, done.set)
    assert done.wait(WAIT_S)


def test_a_nearer_instant_goes_before_one_that_waits_already(clock: Clock, thread: FiringThread) -> None:
    thread.at(clock.boot_ns() + 3600 * NS_PER_S, lambda: None)
    done = threading.Event()
    thread.at(clock.boot_ns() + 10 * NS_PER_MS, done.set)
    assert done.wait(WAIT_S)


def test_a_call_is_made_or_cancelled_never_both(clock: Clock, thread: FiringThread) -> None:
    """Cancels each timer within a few hundred µs of its instant, on both sides of it."""
    for round_ in range(300):
        made = []
        instant = clock.boot_ns() + 2 * NS_PER_MS
        timer = thread.at(instant, lambda made=made: made.append(1))  # type: ignore[misc]
        while clock.boot_ns() < instant + (round_ - 150) * 2000:
            time.sleep(0)
        cancelled = timer.cancel()
        assert not timer.cancel()
        settled = threading.Event()
        thread.at(0, settled.set)
        assert settled.wait(WAIT_S)
        assert made == ([] if cancelled else [1])


def test_a_call_that_fails_does_not_stop_the_next(thread: FiringThread, caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()
    thread.at(0, lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    thread.at(0, done.set)
    assert done.wait(WAIT_S)
    assert "a call of the firing thread failed" in caplog.text


def test_only_the_firing_thread_is_urgent_and_what_it_forks_is_not() -> None:
    thread = FiringThread(Clock(), urgent=True)
    seen: list[object] = []
    done = threading.Event()

    def look() -> None:
        me = threading.get_native_id()
        seen.append((os.sched_getscheduler(me) & 0xFF == os.SCHED_RR, os.getpriority(os.PRIO_PROCESS, me) == -20))
        child = subprocess.run([sys.executable, "-S", "-c", "import os; print(os.sched_getscheduler(0))"], stdout=-1)
        seen.append(child.stdout.strip())
        done.set()

    thread.at(0, look)
    assert done.wait(WAIT_S)
    thread.close()
    assert any(seen[0]) != bool(thread.refused)  # type: ignore[arg-type]
    assert seen[1] == b"0"
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


@pytest.mark.parametrize("off_s", [3, -3, 100_000])
def test_the_sample_of_least_round_trip_gives_the_offset(off_s: int) -> None:
    offsets = Offsets()
    assert offsets.best is None
    for trip_ms, early in ((40, 0.9), (2, 0.6), (30, 0.1)):
        sent = 1000 * NS_PER_S
        trip = trip_ms * NS_PER_MS
        offsets.add(sent, sent + trip, round(sent + trip * early) + off_s * NS_PER_S)
    best = offsets.best
    assert best is not None
    assert best.uncertainty_ns == NS_PER_MS
    assert abs(best.offset_ns - off_s * NS_PER_S) <= best.uncertainty_ns


def test_only_the_last_ten_samples_count() -> None:
    offsets = Offsets()
    offsets.add(0, 2, 101)
    for _ in range(10):
        offsets.add(0, 20, 510)
    assert offsets.best is not None
    assert offsets.best.offset_ns == 500


def test_a_drifting_clock_knows_the_kernels_instant() -> None:
    clock = DriftingClock(-3 * NS_PER_S, drift_ppm=500)
    instant = clock.boot_ns() + 10 * NS_PER_S
    kernel_passes = clock.kernel_ns(instant) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert abs(kernel_passes - 10 * NS_PER_S / (1 + 500e-6)) < NS_PER_S
