"""Sees whether files are unreadable: reads one, as any program would."""

import asyncio
import errno
import os
from collections.abc import Callable, Sequence

from trogdor.instant import NS_PER_MS, NS_PER_S, Clock
from trogdor.probe.expect import ReadFails
from trogdor.probe.sight import SEEN, Sight, not_seen, summed_up, unverified

LOOK_S = 0.005
LOOK_AGAIN_S = 0.25
LATEST_NS = 200 * NS_PER_MS
GONE_NS = NS_PER_S
MOST_FILES = 3


def outcome_of(path: str) -> int:
    """The errno that reading the first byte gives; 0 where it can be read. May block: call it on a thread."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        return error.errno or errno.EIO
    try:
        os.pread(descriptor, 1, 0)
    except OSError as error:
        return error.errno or errno.EIO
    finally:
        os.close(descriptor)
    return 0


class FileWatch:
    """Watches files that one fault makes unreadable."""

    def __init__(self, expected: Sequence[ReadFails], clock: Clock, also_fails: Callable[[ReadFails], bool]) -> None:
        """``also_fails``: whether another fault holds the same file now."""
        self._expected = list(expected)[:MOST_FILES]
        self._clock = clock
        self._also_fails = also_fails

    async def based(self) -> None:
        """See Watch."""

    async def seen(self, fired_ns: int) -> Sight:
        """See Watch."""
        return summed_up([await self._one_seen(each, fired_ns) for each in self._expected])

    async def _one_seen(self, each: ReadFails, fired_ns: int) -> Sight:
        while True:
            before_ns = self._clock.boot_ns()
            code = await asyncio.to_thread(outcome_of, each.path)
            if code == each.code:
                return Sight(SEEN, max(fired_ns, before_ns))
            if code == errno.ENOENT:
                return unverified(f"{each.path} is gone: there is nothing to read")
            if before_ns > fired_ns + LATEST_NS:
                return not_seen(f"{each.path}: reading it gives {_name(code)}, not {_name(each.code)}")
            await asyncio.sleep(LOOK_S)

    def looked_back(self, fired_ns: int, undone_ns: int) -> Sight:
        """See Watch."""
        return unverified("too short to be seen")

    async def broken(self) -> str:
        """See Watch."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            for each in self._expected:
                code = await asyncio.to_thread(outcome_of, each.path)
                if code not in (each.code, errno.ENOENT):
                    return f"{each.path}: reading it gives {_name(code)}, not {_name(each.code)}"

    async def gone(self, undone_ns: int) -> Sight:
        """See Watch."""
        return summed_up([await self._one_gone(each, undone_ns) for each in self._expected])

    async def _one_gone(self, each: ReadFails, undone_ns: int) -> Sight:
        deadline_ns = self._clock.boot_ns() + GONE_NS
        while True:
            if self._also_fails(each):
                return Sight(SEEN, undone_ns)
            code = await asyncio.to_thread(outcome_of, each.path)
            if code != each.code:
                return Sight(SEEN, self._clock.boot_ns())
            if self._clock.boot_ns() > deadline_ns:
                return unverified(f"{each.path}: reading it still gives {_name(code)} a second after the end")
            await asyncio.sleep(LOOK_S)

    def close(self) -> None:
        """See Watch."""


def _name(code: int) -> str:
    return errno.errorcode.get(code, str(code)) if code else "its first byte"
