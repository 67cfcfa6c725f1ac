"""Sees whether processes are gone, and whether others like them run afterwards: /proc, read anew."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from trogdor.instant import NS_PER_MS, NS_PER_S, Clock
from trogdor.probe.expect import ProcessGone
from trogdor.probe.sight import SEEN, Sight, not_seen, summed_up, unverified

LOOK_S = 0.005
LOOK_AGAIN_S = 0.25
AGAIN_NS = 30 * NS_PER_S
"""So long after the end a process like the one killed is waited for."""


@dataclass(frozen=True)
class _Looks:
    """What tells one program's processes from others'."""

    program: str
    command_line: bytes
    pids: int
    """The inode of its pid namespace: another node's are never mistaken for it."""


def _looks_of(pid: int) -> _Looks | None:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            line = file.read()
        return _Looks(os.readlink(f"/proc/{pid}/exe"), line, os.stat(f"/proc/{pid}/ns/pid").st_ino)
    except OSError:
        return None


def _start_of(pid: int) -> int | None:
    """Clock ticks from the boot to its start; None: it is gone, or dead."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _name_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return "the process"


class KillWatch:
    """Watches the processes that one fault kills."""

    def __init__(self, expected: Sequence[ProcessGone], clock: Clock, end_ns: int) -> None:
        self._expected = list(expected)
        self._clock = clock
        self._end_ns = end_ns
        self._names = {each.pid: _name_of(each.pid) for each in expected}
        self._looks = {each.pid: _looks_of(each.pid) for each in expected}
        self._before = {
            (pid, started) for each in expected for pid, started in self._alike(each) if started is not None
        }
        """Those that ran already, the ones to be killed among them."""
        self._stayed: set[ProcessGone] = set()
        """Those that were not killed."""

    def _alike(self, each: ProcessGone) -> Iterator[tuple[int, int | None]]:
        looks = self._looks[each.pid]
        for name in os.listdir("/proc") if looks else ():
            if name.isdecimal() and (found := _looks_of(int(name))) and looks:
                same = found.command_line == looks.command_line or each.again == "other"
                if same and (found.program, found.pids) == (looks.program, looks.pids):
                    yield int(name), _start_of(int(name))

    def _again(self, each: ProcessGone) -> int | None:
        """The pid of one like it that was not there before."""
        fresh = (
            pid for pid, started in self._alike(each) if started is not None and (pid, started) not in self._before
        )
        return next(fresh, None)

    async def based(self, within_s: float) -> None:
        """See Watch."""

    async def seen(self, fired_ns: int) -> Sight:
        """See Watch; of one that is only asked to end it may take as long as that may."""
        return summed_up(await asyncio.gather(*(self._one_seen(each, fired_ns) for each in self._expected)))

    async def _one_seen(self, each: ProcessGone, fired_ns: int) -> Sight:
        while True:
            before_ns = self._clock.boot_ns()
            if _start_of(each.pid) != each.started:
                return Sight(SEEN, max(fired_ns, before_ns))
            if before_ns > fired_ns + each.within_ms * NS_PER_MS:
                self._stayed.add(each)
                return not_seen(f"{self._names[each.pid]} (pid {each.pid}) is still there")
            await asyncio.sleep(LOOK_S)

    def looked_back(self, fired_ns: int, undone_ns: int) -> Sight:
        """See Watch."""
        return unverified("too short to be seen")

    async def broken(self) -> str:
        """See Watch; only what is there at two looks is no mere fork of another."""
        last: dict[ProcessGone, int | None] = {}
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            for each in self._expected:
                pid = self._again(each) if each.again == "same" else None
                was, last[each] = last.get(each), pid
                if pid is not None and pid == was and self._clock.boot_ns() < self._end_ns:
                    return (
                        f"{self._names[each.pid]} runs again (pid {pid}): somebody looks after it, who can be left to "
                        f"start it (restart: none)"
                    )

    async def gone(self, undone_ns: int) -> Sight:
        """See Watch."""
        return summed_up(await asyncio.gather(*(self._one_gone(each, undone_ns) for each in self._expected)))

    async def _one_gone(self, each: ProcessGone, undone_ns: int) -> Sight:
        """Seen at two looks, so that one that ends at once is not taken for one that runs."""
        if each.again == "none":
            return Sight(SEEN, undone_ns)
        if each in self._stayed and _start_of(each.pid) == each.started:
            return unverified(f"{self._names[each.pid]} never went")
        deadline_ns = self._clock.boot_ns() + AGAIN_NS
        while (before_ns := self._clock.boot_ns()) < deadline_ns:
            pid = self._again(each)
            await asyncio.sleep(LOOK_AGAIN_S if pid else 10 * LOOK_S)
            if pid is not None and self._again(each) == pid:
                return Sight(SEEN, max(undone_ns, before_ns))
        return unverified(f"{self._names[each.pid]} was not seen to run again after the end")

    def close(self) -> None:
        """See Watch."""
