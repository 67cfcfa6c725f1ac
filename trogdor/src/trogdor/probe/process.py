"""Sees whether processes are stopped: their state in /proc."""

import os

from trogdor.probe.expect import ProcessStopped
from trogdor.probe.looking import HELD, How, Look


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


class ProcessEye:
    """Looks at the state of one process. See Eye."""

    def __init__(self, expected: ProcessStopped) -> None:
        self._expected = expected
        self._name = name_of(expected.pid)
        self.still = f"{self._name} is still stopped"
        self.was_held = state_of(expected) in ("T", "t")
        self._held = False

    async def based(self) -> None:
        """See Eye."""

    async def look(self) -> Look:
        """See Eye. One that is gone is not stopped: the fault did not take."""
        state = state_of(self._expected)
        if state in ("T", "t"):
            self._held = True
            return HELD
        if not state or state in "ZX":
            return Look(How.FREE, f"{self._name} is gone")
        return Look(How.FREE, f"{self._name} runs{' again' if self._held else ''} (its state in /proc is {state})")

    def close(self) -> None:
        """See Eye."""
