"""Clocks, the offset between two of them, and the thread that calls a function at an instant.

Instants are ns of CLOCK_BOOTTIME: neither a step of the wall clock nor a suspended machine moves them.
"""

import ctypes
import heapq
import itertools
import logging
import os
import select
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

SAMPLES = 10
"""Of how many samples the one of least round trip gives the offset."""

AWAKE_BEFORE_NS = NS_PER_MS
"""The firing thread wakes this much before an instant and waits for the rest without sleeping."""

SWITCH_INTERVAL_S = 0.0005
"""How long another Python thread may keep the firing thread waiting (Python's own default: 5 ms)."""


class Clock:
    """The clocks of this machine. Everything that asks for the time gets one of these; tests give one that drifts."""

    def boot_ns(self) -> int:
        """Now, in ns of CLOCK_BOOTTIME."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def wall_ns(self) -> int:
        """Now, in ns since the epoch."""
        return time.time_ns()

    def wall_ms(self) -> int:
        """Now, in ms since the epoch."""
        return self.wall_ns() // NS_PER_MS

    def kernel_ns(self, boot_ns: int) -> int:
        """When the kernel's CLOCK_BOOTTIME shows the instant at which this clock shows ``boot_ns``."""
        return boot_ns


class DriftingClock(Clock):
    """A clock that is off by ``offset_ns`` now and by ``drift_ppm`` more each second: another machine's, for tests."""

    def __init__(self, offset_ns: int, drift_ppm: float = 0.0) -> None:
        self._offset_ns = offset_ns
        self._rate = 1 + drift_ppm / 1e6
        self._since_ns = super().boot_ns()

    def boot_ns(self) -> int:
        passed = super().boot_ns() - self._since_ns
        return self._since_ns + self._offset_ns + round(passed * self._rate)

    def wall_ns(self) -> int:
        return super().wall_ns() + self.boot_ns() - super().boot_ns()

    def kernel_ns(self, boot_ns: int) -> int:
        return self._since_ns + round((boot_ns - self._offset_ns - self._since_ns) / self._rate)


@dataclass(frozen=True, slots=True)
class Offset:
    """What to add to our clock to get another's, and how far off that may be; ns."""

    offset_ns: int
    uncertainty_ns: int


class Offsets:
    """The offset of another machine's clock, from requests that it answered with its time."""

    def __init__(self) -> None:
        self._samples: deque[Offset] = deque(maxlen=SAMPLES)

    def add(self, sent_ns: int, received_ns: int, other_ns: int) -> None:
        """A sample: the other's clock showed ``other_ns`` at some time between our ``sent_ns`` and ``received_ns``."""
        half = (received_ns - sent_ns) // 2
        if half >= 0:
            self._samples.append(Offset(other_ns - sent_ns - half, half))

    def forget(self) -> None:
        """Starts anew: the other machine was booted again."""
        self._samples.clear()

    @property
    def best(self) -> Offset | None:
        """The sample of least round trip among the last ten; None before the first."""
        return min(self._samples, key=lambda sample: sample.uncertainty_ns, default=None)


class Timer:
    """A call that waits for its instant. It is made once, or cancelled, never both."""

    __slots__ = ("_call", "_lock", "_taken", "instant_ns")

    def __init__(self, instant_ns: int, call: Callable[[], None]) -> None:
        self.instant_ns = instant_ns
        self._call = call
        self._taken = False
        self._lock = threading.Lock()

    def cancel(self) -> bool:
        """Whether the call will never be made; False: it is being made, or was."""
        return self._take()

    def _take(self) -> bool:
        with self._lock:
            if self._taken:
                return False
            self._taken = True
            return True

    def make(self) -> None:
        """Makes the call unless it was cancelled."""
        if self._take():
            try:
                self._call()
            except Exception:
                log.exception("a call of the firing thread failed")


class FiringThread:
    """Calls functions at their instants, one after the other, on a thread of its own.

    What it calls is to be fast, and hands results to the event loop with ``call_soon_threadsafe``.
    """

    def __init__(self, clock: Clock, *, urgent: bool = False) -> None:
        """``urgent``: the thread asks to go before all others; ``refused`` says why it may not."""
        self.refused = ""
        self._clock = clock
        self._urgent = urgent
        self._heap: list[tuple[int, int, Timer]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._closing = False
        self._timer_fd = _timerfd()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="firing", daemon=True)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._thread.start()
        started.wait()

    def at(self, instant_ns: int, call: Callable[[], None]) -> Timer:
        """Makes ``call`` on the firing thread when the clock shows ``instant_ns``; at once if that is past."""
        timer = Timer(instant_ns, call)
        with self._lock:
            heapq.heappush(self._heap, (instant_ns, next(self._order), timer))
            first = self._heap[0][2] is timer
        if first:
            os.eventfd_write(self._wake_fd, 1)
        return timer

    def now_ns(self) -> int:
        """Now, by the clock whose instants it keeps."""
        return self._clock.boot_ns()

    def close(self) -> None:
        """Ends the thread; what still waits is never called."""
        self._closing = True
        os.eventfd_write(self._wake_fd, 1)
        self._thread.join()
        os.close(self._timer_fd)
        os.close(self._wake_fd)

    def _run(self, started: threading.Event) -> None:
        if self._urgent:
            self.refused = make_thread_urgent()
        started.set()
        poll = select.epoll()
        poll.register(self._timer_fd, select.EPOLLIN)
        poll.register(self._wake_fd, select.EPOLLIN)
        with poll:
            while not self._closing:
                due = self._due()
                if due is not None:
                    self._wait_for(due.instant_ns)
                    due.make()
                    continue
                for fd, _ in poll.poll():
                    os.read(fd, 8)

    def _due(self) -> Timer | None:
        """The first timer if it is about to be due; else the kernel's timer is set to it."""
        with self._lock:
            if not self._heap:
                _set_timerfd(self._timer_fd, 0)
                return None
            instant_ns = self._heap[0][0]
            if instant_ns - self._clock.boot_ns() <= 2 * AWAKE_BEFORE_NS:
                return heapq.heappop(self._heap)[2]
        _set_timerfd(self._timer_fd, max(1, self._clock.kernel_ns(instant_ns) - AWAKE_BEFORE_NS))
        return None

    def _wait_for(self, instant_ns: int) -> None:
        while (left := instant_ns - self._clock.boot_ns()) > 0:
            if left > AWAKE_BEFORE_NS:
                time.sleep((left - AWAKE_BEFORE_NS) / NS_PER_S)


MOST_URGENT = -20


def make_thread_urgent() -> str:
    """Puts the calling thread before all ordinary ones: the lowest real-time priority, which what it forks loses.

    Niceness alone does not do it where the kernel groups processes by session (autogroup). Returns why it was refused,
    or an empty string.
    """
    thread = threading.get_native_id()
    try:
        os.sched_setscheduler(thread, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError:
        return set_niceness(MOST_URGENT)
    return ""


def set_niceness(nice: int) -> str:
    """Sets the calling thread's niceness (Linux has one a thread). Returns why it was refused, or an empty string."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
    except OSError as error:
        return f"niceness {nice} was refused ({error.strerror}): run as root, or raise RLIMIT_NICE (ulimit -e)"
    return ""


def raise_session() -> None:
    """Gives this session's share of the processor (autogroup) the niceness of the agent, if the session is ours."""
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(MOST_URGENT))


_libc = ctypes.CDLL(None, use_errno=True)
_CLOCK_BOOTTIME, _CLOEXEC_NONBLOCK, _ABSOLUTE = 7, 0o2000000 | 0o4000, 1


def _timerfd() -> int:
    fd: int = _libc.timerfd_create(_CLOCK_BOOTTIME, _CLOEXEC_NONBLOCK)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    return fd


def _set_timerfd(fd: int, instant_ns: int) -> None:
    """Sets the timer to an instant of CLOCK_BOOTTIME; 0 turns it off."""
    value = struct.pack("qqqq", 0, 0, instant_ns // NS_PER_S, instant_ns % NS_PER_S)
    if _libc.timerfd_settime(fd, _ABSOLUTE, value, None) != 0:
        raise OSError(ctypes.get_errno(), "timerfd_settime")
