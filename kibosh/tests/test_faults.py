"""Every type of fault, felt by a process: on a warm file that is open, on a fresh one, through mmap."""

from __future__ import annotations

import errno
import mmap
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import kibosh
from conftest import MakeMount, give_name, wait_until
from kibosh import CorruptMode

pytestmark = pytest.mark.faults

PAGE = 4096


@contextmanager
def fails_with(code: int) -> Iterator[None]:
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == code, caught.value


@pytest.fixture
def warm(any_fs: kibosh.Mount) -> Iterator[tuple[kibosh.Mount, Path, int]]:
    """An open file of four pages, read and written already, so that the kernel has it in its cache."""
    path = any_fs.mountpoint / "dir" / "file.log"
    path.parent.mkdir()
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(file, b"a" * PAGE * 4, 0)
    assert os.pread(file, PAGE * 4, 0) == b"a" * PAGE * 4
    yield any_fs, path, file
    any_fs.clear()
    os.close(file)


Warm = tuple[kibosh.Mount, Path, int]


def test_unreadable_is_felt_on_an_open_warm_file_and_a_fresh_one(warm: Warm) -> None:
    fs, path, file = warm
    fs.set([kibosh.Unreadable(prefix="/dir", code="EIO")])
    for _ in range(3):
        with fails_with(errno.EIO):
            os.pread(file, 10, 0)
    with fails_with(errno.EIO):
        path.read_bytes()
    os.pwrite(file, b"b", 0)
    fs.clear()
    assert os.pread(file, 2, 0) == b"ba"
    assert path.read_bytes()[:2] == b"ba"


def test_unwritable_is_felt_on_an_open_warm_file_and_a_fresh_one(warm: Warm) -> None:
    fs, path, file = warm
    fs.set([kibosh.Unwritable(suffix=".log", code=errno.EROFS)])
    for _ in range(3):
        with fails_with(errno.EROFS):
            os.pwrite(file, b"x", 0)
    with fails_with(errno.EROFS):
        path.write_bytes(b"x")
    (path.parent / "other").write_bytes(b"fine")
    fs.clear()
    os.pwrite(file, b"y", 0)
    os.fsync(file)
    assert path.read_bytes() == b"y"


def test_a_file_without_a_name_meets_its_directory_s_faults_until_it_has_one(any_fs: kibosh.Mount) -> None:
    directory = any_fs.mountpoint / "wal"
    directory.mkdir()
    file = os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o600)
    os.pwrite(file, b"a" * PAGE, 0)
    any_fs.set([kibosh.Unwritable(prefix="/wal", code="EROFS"), kibosh.Unreadable(prefix="/wal", code="EIO")])
    with fails_with(errno.EROFS):
        os.pwrite(file, b"b", 0)
    with fails_with(errno.EIO):
        os.pread(file, 1, 0)
    any_fs.set([kibosh.Unwritable(prefix="/other", code="EIO")])
    os.pwrite(file, b"b", 0)
    assert os.pread(file, 2, 0) == b"ba"
    os.fsync(file)
    give_name(file, any_fs.mountpoint / "other")
    with fails_with(errno.EIO):
        os.pwrite(file, b"c", 0)
    os.close(file)


def test_all_ways_of_writing_are_met(warm: Warm) -> None:
    fs, path, file = warm
    other = os.open(path, os.O_WRONLY | os.O_APPEND)
    fs.set([kibosh.Unwritable(code=errno.EIO)])
    ways: list[Callable[[], object]] = [
        lambda: os.write(file, b"x"),
        lambda: os.pwrite(file, b"x", 5),
        lambda: os.writev(file, [b"x", b"y"]),
        lambda: os.pwritev(file, [b"x", b"y"], 3),
        lambda: os.write(other, b"x"),
    ]
    for way in ways:
        with fails_with(errno.EIO):
            way()
    os.close(other)
    assert os.fstat(file).st_size == PAGE * 4


def test_all_ways_of_reading_are_met(warm: Warm) -> None:
    fs, _, file = warm
    fs.set([kibosh.Unreadable(code=errno.EIO)])
    out = os.open(fs.mountpoint / "out", os.O_WRONLY | os.O_CREAT)
    null = os.open("/dev/null", os.O_WRONLY)
    reader, writer = os.pipe()
    ways: list[Callable[[], object]] = [
        lambda: os.read(file, 1),
        lambda: os.pread(file, 1, 5),
        lambda: os.readv(file, [bytearray(1)]),
        lambda: os.preadv(file, [bytearray(1)], 3),
        lambda: os.sendfile(writer, file, 0, 100),
        lambda: os.splice(file, writer, 100, offset_src=0),
        lambda: os.copy_file_range(file, out, 100, offset_src=0),
    ]
    for number, way in enumerate(ways):
        with fails_with(errno.EIO):
            way()
            pytest.fail(f"way {number} was not met")
    for descriptor in (out, null, reader, writer):
        os.close(descriptor)


def test_a_seek_and_fstat_are_no_reads(warm: Warm) -> None:
    fs, path, file = warm
    fs.set([kibosh.Unreadable(code=errno.EIO), kibosh.Unwritable(code=errno.EIO)])
    assert os.lseek(file, 0, os.SEEK_END) == PAGE * 4
    assert os.fstat(file).st_size == PAGE * 4
    assert path.stat().st_size == PAGE * 4
    assert os.listdir(path.parent) == ["file.log"]


def test_unreadable_is_a_bus_error_in_a_mapping(warm: Warm) -> None:
    fs, path, _ = warm
    code = (
        "import mmap, sys, os\n"
        "file = os.open(sys.argv[1], os.O_RDONLY)\n"
        "data = mmap.mmap(file, 4096, prot=mmap.PROT_READ)\n"
        "assert data[0] == 97\n"
        "print('warm', flush=True)\n"
        "sys.stdin.readline()\n"
        "data[0]\n"
        "print('fine', flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "warm\n"
        fs.set([kibosh.Unreadable(code=errno.EIO)])
        assert child.communicate("\n", timeout=30)[0] == ""
        assert child.returncode == -signal.SIGBUS


LOADS = """
import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDONLY)
data = mmap.mmap(file, 4096 * 4, prot=mmap.PROT_READ)
os.close(file)
for line in sys.stdin:
    print(data[int(line)], flush=True)
"""


def held(fs: kibosh.Mount) -> int:
    """How many calls the fault owned by "slow" has held back."""
    return sum(fault["fired"] for fault in fs.stats()["faults"] if fault["fault"].get("owner") == "slow")


@contextmanager
def held_load(fs: kibosh.Mount, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process whose load of the file's second page is held back, by a fault owned by "slow"."""
    fs.set_owned("slow", [kibosh.ReadDelay(delay_ms=30_000)])
    command = [sys.executable, "-c", LOADS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        child.stdin.write(f"{PAGE}\n")
        child.stdin.flush()
        wait_until(lambda: held(fs) == 1, "the load is held back")
        yield child
        child.kill()


def test_a_change_does_not_wait_for_a_load_that_is_held_back(warm: Warm) -> None:
    fs, path, file = warm
    with held_load(fs, path) as child:
        assert child.stdout is not None
        fs.set_owned("other", [kibosh.Error(operations=["fsync"], code=errno.EIO)])
        with fails_with(errno.EIO):
            os.fsync(file)
        # A load that was waited for has its page dropped under it, and is made again.
        assert not select.select([child.stdout], [], [], 1)[0] and held(fs) == 1
        fs.set_owned("slow", [])
        assert child.stdout.readline() == f"{ord('a')}\n"


def test_a_load_that_was_held_back_leaves_no_page_to_the_next_fault(warm: Warm) -> None:
    """The load itself may get what it asked for before that fault, or be made again and meet it."""
    fs, path, _ = warm
    with held_load(fs, path) as child:
        fs.set([kibosh.Crash(operations=["read"], then=["kill"])])
        assert child.communicate(f"{PAGE}\n", timeout=30)[0] in ("", f"{ord('a')}\n")
        assert child.returncode == -signal.SIGKILL


SYNCED_STORE = """
import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
data = mmap.mmap(file, 4096 * 4)
data[4096] = ord("s")
data.flush(4096, 4096)
print("written", flush=True)
"""


def test_a_change_does_not_wait_for_a_store_that_is_held_back(warm: Warm) -> None:
    fs, path, file = warm
    os.fsync(file)
    fs.set_owned("slow", [kibosh.WriteDelay(delay_ms=30_000)])
    command = [sys.executable, "-c", SYNCED_STORE, str(path)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child,
        mmap.mmap(file, PAGE * 4) as data,
    ):
        assert child.stdout is not None
        wait_until(lambda: held(fs) == 1, "the store is held back")
        data[PAGE * 2] = ord("t")
        fs.set_owned("other", [kibosh.Unreadable(code=errno.EIO)])
        # What is stored before a fault is not left for it to meet; nor is it waited for.
        stored = (fs.target / "dir" / "file.log").read_bytes()
        assert stored[PAGE : PAGE + 1] + stored[PAGE * 2 : PAGE * 2 + 1] == b"at"
        with fails_with(errno.EIO):
            os.pread(file, 1, 0)
        assert not select.select([child.stdout], [], [], 0)[0]
        fs.clear()
        assert child.stdout.readline() == "written\n"
    assert os.pread(file, PAGE * 4, 0)[PAGE::PAGE] == b"sta"
    assert (fs.target / "dir" / "file.log").read_bytes()[PAGE::PAGE] == b"sta"


def test_unwritable_fails_the_msync_of_a_mapping(warm: Warm) -> None:
    fs, _, file = warm
    with mmap.mmap(file, PAGE) as data:
        data[0] = ord("m")
        fs.set([kibosh.Unwritable(code=errno.EIO)])
        data[1] = ord("n")
        with fails_with(errno.EIO):
            data.flush()
    fs.clear()
    assert (fs.target / "dir" / "file.log").read_bytes()[:2] == b"ma"


def test_a_delay_delays_its_file_and_no_other(warm: Warm) -> None:
    fs, path, file = warm
    other = path.parent / "other"
    other.write_bytes(b"quick")
    fs.set([kibosh.ReadDelay(suffix=".log", delay_ms=3_600_000)])
    slow = subprocess.Popen(["dd", f"if={path}", "of=/dev/null", "bs=4096", "count=1", "status=none"])
    while not fs.stats()["faults"][0]["fired"]:
        time.sleep(0.005)
    assert other.read_bytes() == b"quick"
    other.write_bytes(b"quicker")
    assert slow.poll() is None, "the other file waited for the delayed one"
    fs.set([kibosh.ReadDelay(suffix=".log", delay_ms=600), kibosh.WriteDelay(suffix=".log", delay_ms=600)])
    assert slow.wait(30) == 0
    for call in (lambda: os.pread(file, 1, 0), lambda: os.pwrite(file, b"z", 0)):
        start = time.monotonic()
        call()
        assert time.monotonic() - start >= 0.6


def test_a_killed_process_does_not_wait_for_its_delay(warm: Warm) -> None:
    fs, path, _ = warm
    fs.set([kibosh.WriteDelay(delay_ms=3_600_000), kibosh.ReadDelay(delay_ms=3_600_000)])
    for how in (["dd", "if=/dev/zero", f"of={path}", "conv=notrunc"], ["dd", f"if={path}", "of=/dev/null"]):
        before = sum(fault["fired"] for fault in fs.stats()["faults"])
        child = subprocess.Popen([*how, "bs=512", "count=1", "status=none"])
        while sum(fault["fired"] for fault in fs.stats()["faults"]) == before:
            time.sleep(0.005)
        child.kill()
        assert child.wait(30) == -signal.SIGKILL


def test_clearing_a_delay_lets_those_go_that_wait(warm: Warm) -> None:
    fs, path, _ = warm
    fs.set([kibosh.ReadDelay(delay_ms=3_600_000)])
    child = subprocess.Popen(["dd", f"if={path}", "of=/dev/null", "bs=512", "count=1", "status=none"])
    while not fs.stats()["faults"][0]["fired"]:
        time.sleep(0.005)
    fs.clear()
    assert child.wait(30) == 0


@pytest.mark.parametrize("mode", list(CorruptMode))
def test_corrupt_reads_change_what_is_read_and_nothing_else(warm: Warm, mode: CorruptMode) -> None:
    fs, path, file = warm
    fs.set([kibosh.ReadCorrupt(mode=mode, fraction=0.5)])
    data = os.pread(file, PAGE, 0)
    assert data != b"a" * PAGE
    if mode == CorruptMode.ZERO:
        assert PAGE // 4 < data.count(0) < PAGE * 3 // 4 and data.count(0) + data.count(b"a") == PAGE
    elif mode in (CorruptMode.ZERO_TAIL, CorruptMode.RANDOM_TAIL):
        changed = next(at for at in range(len(data)) if data[at : at + 1] != b"a")
        assert data[:changed] == b"a" * changed
    fs.clear()
    assert os.pread(file, PAGE, 0) == b"a" * PAGE
    assert path.read_bytes() == b"a" * PAGE * 4


@pytest.mark.parametrize("mode", list(CorruptMode))
def test_corrupt_writes_are_seen_at_once_through_the_mount(warm: Warm, mode: CorruptMode) -> None:
    fs, _, file = warm
    fs.set([kibosh.WriteCorrupt(mode=mode, fraction=0.5)])
    assert os.pwrite(file, b"b" * PAGE, 0) == PAGE
    data = os.pread(file, PAGE, 0)
    assert data != b"b" * PAGE
    os.fsync(file)
    assert (fs.target / "dir" / "file.log").read_bytes()[:PAGE] == data
    fs.clear()
    assert os.pread(file, PAGE * 2, 0) == data + b"a" * PAGE
    os.pwrite(file, b"c" * PAGE, 0)
    assert os.pread(file, PAGE, 0) == b"c" * PAGE


def test_a_torn_write_keeps_whole_units(warm: Warm) -> None:
    fs, _, file = warm
    fs.set([kibosh.TornWrite(unit=512, survive="random")])
    os.pwrite(file, b"b" * PAGE * 2, PAGE)
    data = os.pread(file, PAGE * 4, 0)
    units = [data[at : at + 512] for at in range(0, len(data), 512)]
    assert all(unit in (b"a" * 512, b"b" * 512) for unit in units)
    assert 0 < units.count(b"b" * 512) < 16
    assert data[:PAGE] == data[PAGE * 3 :] == b"a" * PAGE


def test_a_torn_append_leaves_a_hole(any_fs: kibosh.Mount) -> None:
    file = os.open(any_fs.mountpoint / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.write(file, b"a" * 100)
    any_fs.set([kibosh.TornWrite(unit=16, survive="none")])
    os.write(file, b"b" * 64)
    assert os.pread(file, 1000, 0) == b"a" * 100 + bytes(64)
    os.close(file)


def test_bit_flips_are_the_same_on_every_read(warm: Warm) -> None:
    fs, path, file = warm
    fs.set([kibosh.BitFlip(block_size=512, bits=1, fraction=1.0)])
    data = os.pread(file, PAGE * 4, 0)
    flipped = sum((byte ^ ord("a")).bit_count() for byte in data)
    assert flipped == PAGE * 4 // 512
    assert os.pread(file, 1000, 500) == data[500:1500]
    assert path.read_bytes() == data
    fs.clear()
    assert path.read_bytes() == b"a" * PAGE * 4


def test_bandwidth_holds_back_what_is_too_much(warm: Warm) -> None:
    fs, _, file = warm
    fs.set([kibosh.Bandwidth(bytes_per_sec=PAGE * 10)])
    start = time.monotonic()
    for _ in range(4):
        os.pread(file, PAGE, 0)
    os.pwrite(file, b"b" * PAGE * 4, 0)
    assert time.monotonic() - start >= 0.75


def test_several_buffers_count_as_one_long_write(warm: Warm) -> None:
    fs, _, file = warm
    fs.set([kibosh.DiskFull(bytes=PAGE * 2)])
    with fails_with(errno.ENOSPC):
        os.pwritev(file, [b"b" * PAGE] * 3, PAGE * 4)
    assert os.pwritev(file, [b"b" * PAGE] * 2, PAGE * 4) == PAGE * 2
    fs.set([kibosh.Bandwidth(bytes_per_sec=PAGE * 10)])
    start = time.monotonic()
    os.preadv(file, [bytearray(PAGE)] * 4, 0)
    os.pwritev(file, [b"c" * PAGE] * 4, 0)
    assert time.monotonic() - start >= 0.75


def test_a_full_disk_takes_what_fits_and_statfs_agrees(warm: Warm) -> None:
    fs, path, file = warm
    fs.set([kibosh.DiskFull(bytes=PAGE * 2)])
    os.pwrite(file, b"b" * PAGE, PAGE * 4)
    assert os.statvfs(path).f_bavail == 1
    os.pwrite(file, b"b" * PAGE, 0)
    with fails_with(errno.ENOSPC):
        os.pwrite(file, b"b" * PAGE * 2, PAGE * 5)
    os.pwrite(file, b"b" * PAGE, PAGE * 5)
    with fails_with(errno.ENOSPC):
        (path.parent / "new").mkdir()
    with fails_with(errno.ENOSPC):
        os.posix_fallocate(file, 0, PAGE * 10)
    assert os.statvfs(path).f_bavail == 0
    fs.clear()
    (path.parent / "new").mkdir()


def test_fsync_fails_once_for_each_file(warm: Warm) -> None:
    fs, path, file = warm
    fs.set([kibosh.FsyncOnce()])
    with fails_with(errno.EIO):
        os.fsync(file)
    os.fsync(file)
    other = os.open(path.parent / "other", os.O_CREAT | os.O_WRONLY)
    with fails_with(errno.EIO):
        os.fdatasync(other)
    os.fdatasync(other)
    os.close(other)


def with_file(act: Callable[[int], object]) -> Callable[[Path], object]:
    """Does it with `file` of the directory that is given, open."""

    def done(base: Path) -> None:
        file = os.open(base / "file", os.O_RDWR)
        try:
            act(file)
        finally:
            os.close(file)

    return done


#: How each operation is asked for, in a directory that has something for it.
OPERATIONS: dict[str, Callable[[Path], object]] = {
    "read": with_file(lambda file: os.pread(file, 1, 0)),
    "write": with_file(lambda file: os.pwrite(file, b"x", 0)),
    "fsync": with_file(os.fsync),
    "fallocate": with_file(lambda file: os.posix_fallocate(file, 0, PAGE)),
    "lseek": with_file(lambda file: os.lseek(file, 0, os.SEEK_DATA)),
    "close": with_file(os.fstat),
    "open": lambda base: os.open(base / "file", os.O_RDONLY),
    "create": lambda base: os.open(base / "new", os.O_CREAT | os.O_WRONLY),
    "rename": lambda base: os.rename(base / "file", base / "moved"),
    "unlink": lambda base: os.unlink(base / "file"),
    "mkdir": lambda base: os.mkdir(base / "new"),
    "rmdir": lambda base: os.rmdir(base / "sub"),
    "readdir": lambda base: os.listdir(base),
    "getattr": lambda base: os.stat(base / "file"),
    "setattr": lambda base: os.chmod(base / "file", 0o600),
    "truncate": lambda base: os.truncate(base / "file", 1),
    "link": lambda base: os.link(base / "file", base / "new"),
    "symlink": lambda base: os.symlink("x", base / "new"),
    "mknod": lambda base: os.mkfifo(base / "new"),
    "readlink": lambda base: os.readlink(base / "symlink"),
    "getxattr": lambda base: os.getxattr(base / "file", "user.x"),
    "setxattr": lambda base: os.setxattr(base / "file", "user.y", b"1"),
    "listxattr": lambda base: os.listxattr(base / "file"),
    "removexattr": lambda base: os.removexattr(base / "file", "user.x"),
    "lookup": lambda base: os.stat(base / "file"),
    "statfs": lambda base: os.statvfs(base),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_any_operation_can_fail(any_fs: kibosh.Mount, operation: str) -> None:
    base = any_fs.mountpoint / "base"
    (base / "sub").mkdir(parents=True)
    (base / "file").write_bytes(b"hello")
    (base / "symlink").symlink_to("file")
    os.setxattr(base / "file", "user.x", b"1")
    for warm_up in ("getattr", "readdir", "readlink", "statfs"):
        OPERATIONS[warm_up](base)
    any_fs.set([kibosh.Error(operations=[operation], code="EREMOTEIO", prefix="/base")])
    with fails_with(errno.EREMOTEIO):
        OPERATIONS[operation](base)
    assert any_fs.stats()["faults"][0]["fired"] >= 1
    any_fs.clear()
    OPERATIONS[operation](base)


def test_fsync_close_and_fallocate_can_fail(warm: Warm) -> None:
    fs, path, file = warm
    fs.set([kibosh.Error(operations=["fsync", "fallocate", "close"], code="EDQUOT")])
    with fails_with(errno.EDQUOT):
        os.fsync(file)
    with fails_with(errno.EDQUOT):
        os.posix_fallocate(file, 0, PAGE)
    duplicate = os.dup(file)
    with fails_with(errno.EDQUOT):
        os.close(duplicate)
    directory = os.open(path.parent, os.O_RDONLY)
    with fails_with(errno.EDQUOT):
        os.fsync(directory)
    fs.clear()
    os.close(directory)


def test_faults_follow_a_file_through_renames(warm: Warm) -> None:
    fs, path, file = warm
    fs.set([kibosh.Unreadable(prefix="/dir", code=5)])
    elsewhere = fs.mountpoint / "elsewhere"
    path.parent.rename(elsewhere)
    assert os.pread(file, 1, 0) == b"a"
    elsewhere.rename(path.parent)
    with fails_with(errno.EIO):
        os.pread(file, 1, 0)
    path.rename(fs.mountpoint / "out.log")
    assert os.pread(file, 1, 0) == b"a"


@pytest.mark.parametrize("replaced", [False, True])
def test_a_name_that_was_removed_or_replaced_meets_no_fault_any_more(
    any_fs: kibosh.Mount, replaced: bool
) -> None:
    gone, kept, new = (any_fs.mountpoint / name for name in ("gone", "kept", "new"))
    gone.write_bytes(b"data")
    os.link(gone, kept)
    if replaced:
        new.touch()
        new.rename(gone)
    else:
        gone.unlink()
    any_fs.set([kibosh.Unreadable(prefix="/gone", code=errno.EIO)])
    assert kept.read_bytes() == b"data"
    any_fs.set([kibosh.Unreadable(prefix="/kept", code=errno.EIO)])
    with fails_with(errno.EIO):
        kept.read_bytes()


def test_a_fault_can_be_about_one_user_or_one_program(warm: Warm) -> None:
    fs, path, file = warm
    os.chmod(path, 0o644)
    fs.set([kibosh.Unreadable(process="head", code=5), kibosh.Unreadable(uid=12345, code=5)])
    assert subprocess.run(["cat", path], capture_output=True, check=False).returncode == 0
    assert subprocess.run(["head", "-c1", path], capture_output=True, check=False).returncode != 0
    assert os.pread(file, 1, 0) == b"a"
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setuid(12345)
            os.pread(file, 1, 0)
        except OSError as error:
            code = 0 if error.errno == errno.EIO else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_the_nth_match_fires_and_kills_its_caller(warm: Warm) -> None:
    fs, path, _ = warm
    fs.set([kibosh.Crash(operations=["fsync"], nth=3, then=["kill"])])
    code = (
        "import os, sys\n"
        "file = os.open(sys.argv[1], os.O_RDWR)\n"
        "for number in range(5):\n"
        "    print(number, flush=True)\n"
        "    try: os.fsync(file)\n"
        "    except OSError: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["0", "1", "2"]


def test_the_same_seed_meets_the_same_calls(make_mount: MakeMount) -> None:
    def met(seed: int) -> list[bool]:
        fs = make_mount(seed=seed)
        file = os.open(fs.mountpoint / "file", os.O_RDWR | os.O_CREAT)
        fs.set([kibosh.Unwritable(code=5, fraction=0.5)])
        results = []
        for _ in range(40):
            try:
                os.pwrite(file, b"x", 0)
                results.append(False)
            except OSError:
                results.append(True)
        fs.clear()
        os.close(file)
        return results

    first = met(7)
    assert met(7) == first and met(8) != first and 5 < sum(first) < 35


def test_a_fault_elsewhere_is_not_felt(warm: Warm) -> None:
    fs, _, file = warm
    fs.set([kibosh.Unreadable(prefix="/other", code=5), kibosh.Unwritable(prefix="/other", code=5)])
    before = fs.stats()["requests"]
    for _ in range(200):
        os.pread(file, PAGE, 0)
    if fs.stats()["mode"] == "fast":
        for _ in range(200):
            os.pwrite(file, b"z" * PAGE, 0)
    assert fs.stats()["requests"] - before < 100, "the gate is closed on a file no fault is about"
