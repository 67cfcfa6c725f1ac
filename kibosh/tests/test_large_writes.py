"""Writes of megabytes, whose data goes to the target by the page: everything arrives, and faults are met."""

from __future__ import annotations

import errno
import mmap
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_faults import fails_with

import kibosh
from conftest import MakeMount, wait_until

pytestmark = pytest.mark.posix

MIB = 1 << 20


@contextmanager
def opened(path: Path, flags: int = 0) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | os.O_CREAT | flags)
    try:
        yield file
    finally:
        os.close(file)


def write_synced(file: int, data: bytes, at: int = 0) -> None:
    """Nothing is left for the kernel to write back."""
    assert os.pwrite(file, data, at) == len(data)
    os.fsync(file)


def fits(path: Path, data: bytes) -> bool:
    """Writes a file, unless there is no room for it."""
    try:
        path.write_bytes(data)
    except OSError as error:
        assert error.errno == errno.ENOSPC
        return False
    return True


def test_everything_arrives_among_other_requests(any_fs: kibosh.Mount) -> None:
    source = random.Random(1)
    path = any_fs.mountpoint / "large"
    whole = bytearray()
    with opened(path) as file:
        for size in (4 * MIB, 3 * MIB + 1, 100, 2 * MIB - 7, 128 * 1024, 128 * 1024 - 1, 5 * MIB):
            data = source.randbytes(size)
            write_synced(file, data, len(whole))
            whole += data
            (any_fs.mountpoint / f"small-{size}").write_bytes(data[:1000])
            assert (any_fs.target / f"small-{size}").read_bytes() == data[:1000]
        assert (any_fs.target / "large").read_bytes() == whole
    assert path.read_bytes() == whole


def test_a_fault_amid_them_is_met_and_then_no_more(any_fs: kibosh.Mount) -> None:
    with opened(any_fs.mountpoint / "large") as file:
        write_synced(file, b"a" * 4 * MIB)
        any_fs.set([kibosh.WriteCorrupt(prefix="/large", mode=kibosh.CorruptMode.ZERO, fraction=1.0)])
        write_synced(file, b"b" * 4 * MIB, 4 * MIB)
        any_fs.set([kibosh.Unwritable(prefix="/large", code=errno.EDQUOT)])
        with fails_with(errno.EDQUOT):
            os.pwrite(file, b"c" * 4 * MIB, 0)
        any_fs.set([kibosh.Unwritable(prefix="/elsewhere", code=errno.EDQUOT)])
        write_synced(file, b"d" * 4 * MIB, 8 * MIB)
    expected = b"a" * 4 * MIB + bytes(4 * MIB) + b"d" * 4 * MIB
    assert (any_fs.target / "large").read_bytes() == expected
    assert (any_fs.mountpoint / "large").read_bytes() == expected


def test_direct_ones_follow_cached_ones(any_fs: kibosh.Mount) -> None:
    with opened(any_fs.mountpoint / "cached") as file:
        write_synced(file, b"a" * 4 * MIB)
    with opened(any_fs.mountpoint / "direct", os.O_DIRECT) as file, mmap.mmap(-1, 4 * MIB) as buffer:
        buffer[:] = b"b" * 4 * MIB
        assert os.pwritev(file, [buffer], 0) == 4 * MIB
    assert (any_fs.target / "direct").read_bytes() == b"b" * 4 * MIB


@pytest.mark.parametrize("mode", ["fast", "coherent"])
def test_a_disk_that_gets_full_takes_what_fits(make_mount: MakeMount, tmp_path: Path, mode: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", target], check=True)
    try:
        fs = make_mount(target, mode=mode)
        with opened(fs.mountpoint / "large") as file, fails_with(errno.ENOSPC):
            for at in range(12):
                write_synced(file, b"a" * MIB, at * MIB)
        assert (target / "large").read_bytes().startswith(b"a" * 5 * MIB)
        (fs.mountpoint / "large").unlink()
        wait_until(lambda: fits(fs.mountpoint / "small", b"small"), "the room of a removed file is not free")
        assert (target / "small").read_bytes() == b"small"
        fs.unmount()
    finally:
        subprocess.run(["umount", "-l", target], check=True)
