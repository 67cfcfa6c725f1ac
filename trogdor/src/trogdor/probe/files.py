"""Sees what faults do to files: reads one of the system's, as any program would, or uses one without a name."""

import asyncio
import errno
import os
import time
from abc import ABC, abstractmethod
from functools import partial

from trogdor.probe.expect import CallFails, CallSlow, DataDamaged, FileExpectation, ReadFails, RoomLeft
from trogdor.probe.looking import HELD, Asker, Eye, How, Look, on_a_thread
from trogdor.probe.unnamed import Unnamed

ANSWERED_S = 2.0
"""A look that has no answer by then tells nothing."""
SLOW_MS = 1000.0
"""A call that takes longer than this is slow, however much slower was asked for."""
ALMOST = 0.9
"""Of a delay; the rest is the clocks'."""
CALLS_BEFORE = 2
"""So often a call is timed before the fault."""
READ_AFTER_S = (0, 0.005, 0.02, 0.075)
"""What was written is in the kernel's cache; a file system that damages it takes that back in a moment."""
VANISHED = (errno.ENOENT, errno.ENOTCONN, errno.ENODEV)


def eye_for(expected: FileExpectation) -> Eye:
    """The eye for one expectation."""
    match expected:
        case ReadFails():
            return ReadEye(expected)
        case CallFails():
            return FailingCallEye(expected)
        case CallSlow():
            return SlowCallEye(expected)
        case DataDamaged():
            return DamageEye(expected)
        case RoomLeft():
            return RoomEye(expected)


def outcome_of(path: str) -> int:
    """The errno that reading the first byte gives; 0 where it can be read. May block."""
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


class ReadEye:
    """Reads a file of the system. See Eye."""

    was_held = False

    def __init__(self, expected: ReadFails) -> None:
        self._path, self._code = expected.path, expected.code
        self._asker = Asker[int]()
        self.still = f"{self._path}: reading it still gives {_name(self._code)}"

    async def based(self) -> None:
        """See Eye."""

    async def look(self) -> Look:
        """See Eye."""
        try:
            code = await self._asker.ask(partial(outcome_of, self._path), ANSWERED_S)
        except TimeoutError:
            return Look(How.UNKNOWN, f"{self._path}: reading it takes longer than {ANSWERED_S:g} s")
        if code == self._code:
            return HELD
        if code in VANISHED:
            return Look(How.VANISHED, f"{self._path} is gone: there is nothing to read")
        found = _name(code) if code else "its first byte"
        return Look(How.FREE, f"{self._path}: reading it gives {found}, not {_name(self._code)}")

    def close(self) -> None:
        """See Eye."""


class UnnamedEye(ABC):
    """Looks at a file without a name, opened before the fault. See Eye."""

    was_held = False

    def __init__(self, directory: str, what: str, still: str) -> None:
        """``what`` is done to the file; ``still``: what is to be said where it stays as the fault makes it."""
        self._directory = directory
        self._what = what
        self.still = f"{directory}: {still}"
        self._file: Unnamed | None = None
        self._blind = ""
        self._is_late = False
        self._is_closed = False
        self._before = on_a_thread(self._open)

    def _open(self) -> None:
        """On a thread of its own: leaves the file, and why nothing can be told by it, if so it is."""
        try:
            self._file = Unnamed(self._directory)
        except OSError as error:
            self._blind = f"there can be no file without a name: {error.strerror}"
            return
        try:
            self._file.call("write")
            self._blind = self._look_before(self._file)
        except OSError as error:
            self._blind = f"{self._what} gives {_name(error.errno)} without the fault"
        if self._is_closed:
            self._file.close()

    @abstractmethod
    def _look_before(self, file: Unnamed) -> str:
        """Looks at the file before the fault: why the fault could not be told by it, or nothing. Raises OSError."""

    async def based(self) -> None:
        """See Eye."""
        await asyncio.wait([self._before])

    async def look(self) -> Look:
        """See Eye."""
        self._is_late = self._is_late or not self._before.done()
        if self._is_late or self._blind or self._file is None:
            why = "there was no time to look before the fault" if self._is_late else self._blind
            return Look(How.UNKNOWN, f"{self._directory}: {why}")
        try:
            return await self._look_at(self._file)
        except TimeoutError:
            return Look(How.UNKNOWN, f"{self._directory}: {self._what} takes longer than {ANSWERED_S:g} s")
        except OSError as error:
            if error.errno in VANISHED:
                return Look(How.VANISHED, f"{self._directory} is gone")
            return self._free(f"gives {_name(error.errno)}")

    @abstractmethod
    async def _look_at(self, file: Unnamed) -> Look:
        """Looks once. Raises TimeoutError and OSError."""

    def _free(self, found: str) -> Look:
        return Look(How.FREE, f"{self._directory}: {self._what} {found}")

    def close(self) -> None:
        """See Eye."""
        self._is_closed = True
        if self._file is not None:
            self._file.close()


class FailingCallEye(UnnamedEye):
    """A call that should fail."""

    def __init__(self, expected: CallFails) -> None:
        self._call, self._code = expected.call, expected.code
        self._asker = Asker[None]()
        super().__init__(expected.directory, self._call, f"{self._call} still gives {_name(self._code)}")

    def _look_before(self, file: Unnamed) -> str:
        return ""  # that it succeeds after the fault tells enough, and fsync would take its time

    async def _look_at(self, file: Unnamed) -> Look:
        try:
            await self._asker.ask(partial(file.call, self._call), ANSWERED_S)
        except OSError as error:
            if error.errno == self._code:
                return HELD
            raise
        return self._free(f"succeeds, and does not give {_name(self._code)}")


class SlowCallEye(UnnamedEye):
    """A call that should take longer."""

    def __init__(self, expected: CallSlow) -> None:
        self._call, self._delay_ms = expected.call, expected.delay_ms
        self._asker = Asker[float]()
        super().__init__(expected.directory, self._call, f"{self._call} still takes {self._delay_ms:g} ms")

    def _took_ms(self, file: Unnamed) -> float:
        began_ns = time.monotonic_ns()
        file.call(self._call)
        return (time.monotonic_ns() - began_ns) / 1e6

    def _look_before(self, file: Unnamed) -> str:
        usual_ms = max(self._took_ms(file) for _ in range(CALLS_BEFORE))
        return f"{self._call} takes {usual_ms:.1f} ms without the fault" if 2 * usual_ms > self._delay_ms else ""

    async def _look_at(self, file: Unnamed) -> Look:
        try:
            took_ms = await self._asker.ask(partial(self._took_ms, file), min(2 * self._delay_ms, SLOW_MS) / 1000)
        except TimeoutError:
            return HELD
        if took_ms >= min(ALMOST * self._delay_ms, SLOW_MS):
            return HELD
        return self._free(f"takes {took_ms:.1f} ms, not {self._delay_ms:g} ms or longer")


class DamageEye(UnnamedEye):
    """Data that should not be what was written."""

    def __init__(self, expected: DataDamaged) -> None:
        self._size = expected.size
        self._asker = Asker[bool]()
        super().__init__(expected.directory, "what is written and read back", "what is written is still damaged")

    def _look_before(self, file: Unnamed) -> str:
        file.write_anew(self._size)
        return "what is read is not what was written without the fault" if file.is_damaged() else ""

    async def _look_at(self, file: Unnamed) -> Look:
        is_damaged = await self._asker.ask(partial(self._damages, file), ANSWERED_S)
        return HELD if is_damaged else self._free("is the same")

    def _damages(self, file: Unnamed) -> bool:
        file.write_anew(self._size)
        for pause_s in READ_AFTER_S:
            time.sleep(pause_s)
            if file.is_damaged():
                return True
        return False


class RoomEye(UnnamedEye):
    """Room that should not be there."""

    def __init__(self, expected: RoomLeft) -> None:
        self._room = expected.room
        self._asker = Asker[int]()
        super().__init__(expected.directory, "statfs", f"there is still no room for more than {self._room} bytes")

    def _look_before(self, file: Unnamed) -> str:
        room = file.room()
        return f"there is room for {room} bytes without the fault" if room <= self._room else ""

    async def _look_at(self, file: Unnamed) -> Look:
        room = await self._asker.ask(file.room, ANSWERED_S)
        return HELD if room <= self._room else self._free(f"tells of room for {room} bytes, not {self._room}")


def _name(code: int | None) -> str:
    return errno.errorcode.get(code or 0, str(code))
