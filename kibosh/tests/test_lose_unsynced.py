"""Unsynced writes lost at a moment: what a power cut leaves."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_faults import fails_with

import kibosh
from conftest import MakeMount

pytestmark = pytest.mark.faults


def write(path: Path, data: bytes, *, sync: bool = False, offset: int = 0) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.pwrite(file, data, offset)
    if sync:
        os.fsync(file)
    os.close(file)


def read_unless_lost(path: Path) -> bytes | None:
    """None if it was open at the very moment of a loss."""
    try:
        return path.read_bytes()
    except OSError as error:
        assert error.errno == errno.EIO
        return None


def sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def tree(base: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(base)): None if path.is_dir() else path.read_bytes() for path in base.rglob("*")
    }


def test_only_what_was_synced_is_left(any_fs: kibosh.Mount) -> None:
    base = any_fs.mountpoint
    for name in ("old", "removed", "replaced", "moved", "cut"):
        write(base / name, b"before" * 2000)
    (base / "dir").mkdir()
    before = tree(base)
    any_fs.set([kibosh.LoseUnsynced()])
    held = os.open(base / "old", os.O_RDWR)
    os.pwrite(held, b"CHANGED", 5000)
    os.pwrite(held, b"LONGER", 50_000)
    write(base / "new", b"never synced")
    (base / "removed").unlink()
    write(base / "other", b"other")
    (base / "other").rename(base / "replaced")
    (base / "moved").rename(base / "dir" / "moved")
    os.truncate(base / "cut", 3)
    (base / "newdir").mkdir()
    write(base / "newdir" / "inner", b"x")
    (base / "newdir" / "inner").rename(base / "newdir" / "inner2")
    assert sorted(os.listdir(base)) == ["cut", "dir", "new", "newdir", "old", "replaced"]
    any_fs.lose_unsynced()
    assert tree(base) == before
    assert tree(any_fs.target) == before
    for use in (lambda: os.pread(held, 1, 0), lambda: os.pwrite(held, b"x", 0), lambda: os.fsync(held)):
        with fails_with(errno.EIO):
            use()
    os.close(held)
    write(base / "old", b"again")
    assert (base / "old").read_bytes().startswith(b"againe")


def test_what_was_synced_stays(any_fs: kibosh.Mount) -> None:
    base = any_fs.mountpoint
    write(base / "file", b"0" * 10_000)
    any_fs.set([kibosh.LoseUnsynced()])
    write(base / "file", b"1" * 5000, sync=True)
    write(base / "file", b"2" * 100, offset=9000)
    write(base / "kept", b"kept", sync=True)
    sync_directory(base)
    write(base / "gone", b"gone", sync=True)
    (base / "kept").unlink()
    any_fs.lose_unsynced()
    assert tree(base) == {"file": b"1" * 5000 + b"0" * 5000, "kept": b"kept"}


def test_a_removed_directory_comes_back_with_its_files(any_fs: kibosh.Mount) -> None:
    base = any_fs.mountpoint
    (base / "dir").mkdir()
    write(base / "dir" / "a", b"a")
    before = tree(base)
    any_fs.set([kibosh.LoseUnsynced()])
    (base / "dir" / "a").unlink()
    (base / "dir").rmdir()
    assert os.listdir(base) == []
    any_fs.lose_unsynced()
    assert tree(base) == before


def test_clearing_the_fault_keeps_everything_and_leaves_nothing_behind(any_fs: kibosh.Mount) -> None:
    base = any_fs.mountpoint
    (base / "dir").mkdir()
    write(base / "dir" / "a", b"a")
    write(base / "b", b"b")
    any_fs.set([kibosh.LoseUnsynced()])
    (base / "dir" / "a").unlink()
    (base / "dir").rmdir()
    (base / "b").unlink()
    write(base / "c", b"c")
    any_fs.clear()
    assert tree(any_fs.target) == tree(base) == {"c": b"c"}


def test_a_failed_fsync_loses_what_a_later_one_says_is_safe(any_fs: kibosh.Mount) -> None:
    base = any_fs.mountpoint
    write(base / "file", b"old")
    any_fs.set([kibosh.LoseUnsynced(), kibosh.FsyncOnce()])
    file = os.open(base / "file", os.O_WRONLY)
    os.pwrite(file, b"new", 0)
    with fails_with(errno.EIO):
        os.fsync(file)
    os.fsync(file)
    any_fs.lose_unsynced()
    os.close(file)
    assert (base / "file").read_bytes() == b"old"


def test_more_than_can_be_kept_is_an_error(fs: kibosh.Mount) -> None:
    write(fs.mountpoint / "file", b"0" * 1_000_000)
    fs.set([kibosh.LoseUnsynced(max_bytes=65536)])
    write(fs.mountpoint / "file", b"1" * 1_000_000)
    with pytest.raises(kibosh.Refused, match="maxBytes"):
        fs.lose_unsynced()
    assert fs.stats()["undoFull"]
    fs.clear()
    with pytest.raises(kibosh.Refused, match="no lose_unsynced fault"):
        fs.lose_unsynced()


def test_faults_and_a_loss_in_one_document_are_done_whole_or_not_at_all(any_fs: kibosh.Mount) -> None:
    path = any_fs.mountpoint / "file"
    write(path, b"0" * 1_000_000)
    held = os.open(path, os.O_RDWR)
    too_little = kibosh.LoseUnsynced(max_bytes=65536)

    def set_and_lose(*faults: kibosh.Fault) -> None:
        any_fs.write({"faults": [fault.to_json() for fault in faults], "loseUnsynced": True})

    def refused(why: str, *faults: kibosh.Fault) -> None:
        before = (any_fs.read(), any_fs.stats()["generation"], path.read_bytes())
        with pytest.raises(kibosh.Refused, match=why):
            set_and_lose(*faults)
        assert (any_fs.read(), any_fs.stats()["generation"], path.read_bytes()) == before
        assert os.pread(held, 1, 0) == before[2][:1], "whoever has it open can go on"

    refused("no lose_unsynced fault", kibosh.Unreadable(code=5))
    any_fs.set([too_little])
    write(path, b"1" * 1_000_000)
    refused("maxBytes", too_little, kibosh.Unreadable(code=5))
    refused("no lose_unsynced fault", kibosh.Unreadable(code=5))
    any_fs.set([])
    any_fs.set([kibosh.LoseUnsynced()])
    write(path, b"2" * 1_000_000)
    set_and_lose(kibosh.LoseUnsynced(), kibosh.Unwritable(code=5))
    assert path.read_bytes() == b"1" * 1_000_000
    with fails_with(errno.EIO):
        os.pread(held, 1, 0)
    os.close(held)
    with fails_with(errno.EIO):
        write(path, b"3")


def test_the_moment_can_be_an_instant(fs: kibosh.Mount) -> None:
    write(fs.mountpoint / "file", b"old")
    at = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000 + 400
    fs.set([kibosh.LoseUnsynced(at_boottime_ms=at)])
    write(fs.mountpoint / "file", b"new")
    deadline = time.monotonic() + 30
    while read_unless_lost(fs.mountpoint / "file") != b"old":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_exact_crash_point_kills_and_loses_in_one_step(fs: kibosh.Mount) -> None:
    write(fs.mountpoint / "log", b"")
    crash = kibosh.Crash(operations=["fsync"], nth=3, then=["kill", "lose_unsynced"])
    fs.set([kibosh.LoseUnsynced(), crash])
    code = (
        "import os, sys\n"
        "file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)\n"
        "for number in range(10):\n"
        "    os.write(file, b'%d\\n' % number)\n"
        "    os.fsync(file)\n"
        "    print(number, flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(fs.mountpoint / "log")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["0", "1"]
    assert (fs.mountpoint / "log").read_text().split() == ["0", "1"]


def test_a_seeded_part_loses_its_writes(make_mount: MakeMount) -> None:
    fs = make_mount()
    for number in range(40):
        write(fs.mountpoint / str(number), b"old")
    sync_directory(fs.mountpoint)
    fs.set([kibosh.LoseUnsynced(fraction=0.5, seed=5)])
    for number in range(40):
        write(fs.mountpoint / str(number), b"new")
    fs.lose_unsynced()
    lost = sum((fs.mountpoint / str(number)).read_bytes() == b"old" for number in range(40))
    assert 5 < lost < 35
