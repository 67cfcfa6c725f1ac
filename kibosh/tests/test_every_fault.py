"""Every type of fault at the very next use of a file: one open and warm, a fresh one, and a mapped one."""

from __future__ import annotations

import errno
import faulthandler
import mmap
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_faults import OPERATIONS

import kibosh
from kibosh import CorruptMode, faults

pytestmark = pytest.mark.faults

PAGE = 4096
OLD, NEW = b"a" * PAGE, b"b" * PAGE
SLOW_MS = 150


@dataclass(frozen=True)
class Use:
    """How a process uses a file's first page."""

    load: Callable[[], bytes]
    store: Callable[[], object]
    sync: Callable[[], object]
    append: Callable[[], object]


def by_descriptor(descriptor: Callable[[], int]) -> Use:
    return Use(
        load=lambda: os.pread(descriptor(), PAGE, 0),
        store=lambda: os.pwrite(descriptor(), NEW, 0),
        sync=lambda: os.fsync(descriptor()),
        append=lambda: os.pwrite(descriptor(), NEW, PAGE),
    )


def warm(path: Path, stack: ExitStack) -> Use:
    """Open before the fault, read and written."""
    file = os.open(path, os.O_RDWR)
    stack.callback(os.close, file)
    os.pwrite(file, OLD, 0)
    os.fsync(file)
    assert os.pread(file, PAGE, 0) == OLD
    return by_descriptor(lambda: file)


def fresh(path: Path, _: ExitStack) -> Use:
    """Never seen by the kernel before the fault; opened anew for each use."""
    return by_descriptor(lambda: os.open(path, os.O_RDWR))


def mapped(path: Path, stack: ExitStack) -> Use:
    """Mapped before the fault, and its page used."""
    file = os.open(path, os.O_RDWR)
    data = stack.enter_context(mmap.mmap(file, PAGE))
    os.close(file)
    assert data[:] == OLD
    data[:] = OLD
    data.flush()
    return Use(
        load=lambda: data[:],
        store=lambda: data.__setitem__(slice(None), NEW),
        sync=data.flush,
        append=lambda: pytest.fail("a mapping lengthens no file"),
    )


@dataclass(frozen=True)
class Felt:
    """What a process felt: data it got, an errno or a signal, and for how long it was away."""

    data: bytes
    error: int
    signal: int
    seconds: float

    def failed(self) -> bool:
        """A load or store that fails is SIGBUS."""
        return self.error == errno.EIO or self.signal == signal.SIGBUS

    def slow(self) -> bool:
        return not self.error and not self.signal and self.seconds >= SLOW_MS / 1000

    def killed(self) -> bool:
        return self.signal == signal.SIGKILL

    def full(self) -> bool:
        return self.error == errno.ENOSPC

    def changed(self) -> bool:
        """Neither what was there nor what was written."""
        return len(self.data) == PAGE and self.data not in (OLD, NEW)

    def old(self) -> bool:
        return self.data == OLD


def in_a_child(act: Callable[[], object]) -> Felt:
    """Does it in a process of its own, which may die of it."""
    receive, send = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        code = 255
        try:
            result = act()
            os.write(send, result if isinstance(result, bytes) else b"")
            code = 0
        except OSError as error:
            code = error.errno or 255
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    seconds = time.monotonic() - start
    os.close(send)
    data = os.read(receive, 2 * PAGE)
    os.close(receive)
    ended = os.waitstatus_to_exitcode(status)
    return Felt(data, error=max(ended, 0), signal=max(-ended, 0), seconds=seconds)


Act = Callable[[kibosh.Mount, Use], Felt]


def load(_: kibosh.Mount, use: Use) -> Felt:
    return in_a_child(use.load)


def store(fs: kibosh.Mount, use: Use) -> Felt:
    """Stored, synced, then what read(2) finds, and what the file's user does."""

    def act() -> bytes:
        use.store()
        use.sync()
        found = (fs.mountpoint / "file").read_bytes()
        assert use.load() == found
        return found

    return in_a_child(act)


def append(_: kibosh.Mount, use: Use) -> Felt:
    return in_a_child(use.append)


def store_and_lose(fs: kibosh.Mount, use: Use) -> Felt:
    """Stored but not synced, then lost; what a process that comes later reads."""
    stored = in_a_child(use.store)
    assert not stored.error and not stored.signal
    fs.lose_unsynced()
    return in_a_child((fs.mountpoint / "file").read_bytes)


@dataclass(frozen=True)
class Specimen:
    fault: kibosh.Fault
    act: Act
    felt: Callable[[Felt], bool]
    #: A mapped store makes no file longer, and when it is written back nobody knows whose it was.
    maps: bool = True


SPECIMENS = [
    Specimen(kibosh.Unreadable(code="EIO"), load, Felt.failed),
    Specimen(kibosh.Unwritable(code="EIO"), store, Felt.failed),
    Specimen(kibosh.ReadDelay(delay_ms=SLOW_MS), load, Felt.slow),
    Specimen(kibosh.WriteDelay(delay_ms=SLOW_MS), store, Felt.slow),
    *(Specimen(kibosh.ReadCorrupt(mode=mode, fraction=0.9), load, Felt.changed) for mode in CorruptMode),
    *(Specimen(kibosh.WriteCorrupt(mode=mode, fraction=0.5), store, Felt.changed) for mode in CorruptMode),
    Specimen(kibosh.Error(operations=["read"], code="EIO"), load, Felt.failed),
    Specimen(kibosh.Error(operations=["write"], code="EIO"), store, Felt.failed),
    Specimen(kibosh.Error(operations=["fsync"], code="EIO"), store, Felt.failed),
    Specimen(kibosh.Delay(operations=["read"], delay_ms=SLOW_MS), load, Felt.slow),
    Specimen(kibosh.Delay(operations=["write"], delay_ms=SLOW_MS), store, Felt.slow),
    Specimen(kibosh.Delay(operations=["fsync"], delay_ms=SLOW_MS), store, Felt.slow),
    Specimen(kibosh.Bandwidth(bytes_per_sec=PAGE * 1000 // SLOW_MS), load, Felt.slow),
    Specimen(kibosh.Bandwidth(bytes_per_sec=PAGE * 1000 // SLOW_MS, operations=["write"]), store, Felt.slow),
    Specimen(kibosh.DiskFull(), append, Felt.full, maps=False),
    Specimen(kibosh.TornWrite(), store, Felt.changed),
    Specimen(kibosh.BitFlip(), load, Felt.changed),
    Specimen(kibosh.FsyncOnce(), store, Felt.failed),
    Specimen(kibosh.LoseUnsynced(), store_and_lose, Felt.old),
    Specimen(kibosh.Crash(operations=["read"], then=["kill"]), load, Felt.killed),
    Specimen(kibosh.Crash(operations=["write"], then=["kill"]), store, Felt.killed, maps=False),
    Specimen(kibosh.Crash(operations=["fsync"], then=["kill"]), store, Felt.killed),
]


def named(specimen: Specimen) -> str:
    fault = specimen.fault
    details = [*(getattr(fault, "operations", None) or []), *filter(None, [getattr(fault, "mode", None)])]
    return "-".join([fault.type, *(str(getattr(detail, "name", detail)).lower() for detail in details)])


CASES = [
    pytest.param(specimen, use, id=f"{named(specimen)}-{use.__name__}")
    for specimen in SPECIMENS
    for use in (warm, fresh, mapped)
    if specimen.maps or use is not mapped
]


@pytest.mark.parametrize(("specimen", "using"), CASES)
def test_a_fault_is_felt_at_the_next_use_and_no_more_once_cleared(
    any_fs: kibosh.Mount, specimen: Specimen, using: Callable[[Path, ExitStack], Use]
) -> None:
    (any_fs.target / "file").write_bytes(OLD)
    path = any_fs.mountpoint / "file"
    with ExitStack() as stack:
        use = using(path, stack)
        any_fs.set([specimen.fault])
        felt = specimen.act(any_fs, use)
        assert specimen.felt(felt), felt
        any_fs.clear()
        path.write_bytes(NEW)
        assert path.read_bytes() == NEW
        if specimen.act is not store_and_lose:
            assert in_a_child(use.load).data == NEW


def told_as_known(fs: kibosh.Mount, fault: dict[str, object]) -> set[str]:
    """What the daemon says it knows, as it refuses a fault."""
    with pytest.raises(kibosh.Refused) as caught:
        fs.write({"faults": [fault]})
    (error,) = caught.value.errors
    return set(error["message"].split(" known are ")[1].split(", "))


def test_no_type_is_left_out(fs: kibosh.Mount) -> None:
    known = told_as_known(fs, {"type": "none such"})
    assert {specimen.fault.type for specimen in SPECIMENS} == known == faults._TYPES.keys()


def test_no_operation_is_left_out(fs: kibosh.Mount) -> None:
    known = told_as_known(fs, {"type": "error", "code": 5, "operations": ["none such"]})
    assert OPERATIONS.keys() == known
