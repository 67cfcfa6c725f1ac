"""Sees whether processes are stopped: their state in /proc."""

import asyncio
import os
from collections.abc import Callable, Sequence

from trogdor.instant import NS_PER_MS, NS_PER_S, Clock
from trogdor.probe.expect import ProcessStopped
from trogdor.probe.sight import SEEN, Sight, not_seen, summed_up, unverified

LOOK_S = 0.002
LOOK_AGAIN_S = 0.25
LATEST_NS = 200 * NS_PER_MS
GONE_NS = NS_PER_S


def state_of(expected: ProcessStopped) -> str:
    """The letter of proc(5), T also when it is frozen; empty when it is gone, or its pid is another's now."""
    try:
        with open(f"/proc/{expected.pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    if int(fields[19]) != expected.started:
        return ""
    return "T" if expected.group and _is_frozen(expected) else fields[0].decode()


def _is_frozen(expected: ProcessStopped) -> bool:
    """The kernel's word that all in the group have come to rest, which is not what was written to it."""
    try:
        with open(f"{expected.group}/cgroup.events") as events:
            if "frozen 1" not in events.read().splitlines():
                return False
        for path, _, _ in os.walk(expected.group):
            with open(f"{path}/cgroup.procs") as members:
                if str(expected.pid) in members.read().split():
                    return True
    except OSError:
        pass
    return False


def name_of(pid: int) -> str:
    """The process's name and pid, in words."""
    try:
        with open(f"/proc/{pid}/comm") as comm:
            return f"{comm.read().strip()} (pid {pid})"
    except OSError:
        return f"pid {pid}"


class ProcessWatch:
    """Watches the processes that one fault stops."""

    def __init__(
        self,
        expected: Sequence[ProcessStopped],
        clock: Clock,
        end_ns: int,
        also_stopped: Callable[[ProcessStopped], bool],
    ) -> None:
        """``also_stopped``: whether another fault holds the same process now."""
        self._expected = list(expected)
        self._clock = clock
        self._end_ns = end_ns
        self._also_stopped = also_stopped
        self._names = {each.pid: name_of(each.pid) for each in expected}
        self._stopped_before = {each for each in expected if state_of(each) in "Tt" and state_of(each)}

    async def based(self) -> None:
        """See Watch."""

    async def seen(self, fired_ns: int) -> Sight:
        """See Watch."""
        return summed_up([await self._one_seen(each, fired_ns) for each in self._expected])

    async def _one_seen(self, each: ProcessStopped, fired_ns: int) -> Sight:
        while True:
            before_ns = self._clock.boot_ns()
            state = state_of(each)
            if state in ("T", "t"):
                return Sight(SEEN, max(fired_ns, min(before_ns, self._clock.boot_ns())))
            if not state or state in "ZX":
                return not_seen(f"{self._names[each.pid]} is gone")
            if before_ns > fired_ns + LATEST_NS:
                return not_seen(f"{self._names[each.pid]} runs (its state in /proc is {state})")
            await asyncio.sleep(LOOK_S)

    def looked_back(self, fired_ns: int, undone_ns: int) -> Sight:
        """See Watch."""
        return unverified("too short to be seen")

    async def broken(self) -> str:
        """See Watch."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            for each in self._expected:
                state = state_of(each)
                if state not in ("T", "t") and self._clock.boot_ns() < self._end_ns:
                    return f"{self._names[each.pid]} {'runs again' if state and state not in 'ZX' else 'is gone'}"

    async def gone(self, undone_ns: int) -> Sight:
        """See Watch."""
        return summed_up([await self._one_gone(each, undone_ns) for each in self._expected])

    async def _one_gone(self, each: ProcessStopped, undone_ns: int) -> Sight:
        if each in self._stopped_before or self._also_stopped(each):
            return Sight(SEEN, undone_ns)
        deadline_ns = self._clock.boot_ns() + GONE_NS
        while True:
            before_ns = self._clock.boot_ns()
            if state_of(each) not in ("T", "t"):
                return Sight(SEEN, max(undone_ns, before_ns))
            if before_ns > deadline_ns:
                return unverified(f"{self._names[each.pid]} is still stopped a second after the end")
            await asyncio.sleep(LOOK_S)

    def close(self) -> None:
        """See Watch."""
