"""What a Linux file system does, done through the mount."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import resource
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_faults import fails_with

import kibosh
from conftest import MakeMount, give_name

pytestmark = pytest.mark.posix

LIBC = ctypes.CDLL(None, use_errno=True)
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16
NOBODY = 65534


def renameat2(source: Path, target: Path, flags: int) -> None:
    if LIBC.renameat2(-100, os.fsencode(source), -100, os.fsencode(target), flags) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def fallocate(file: int, mode: int, offset: int, length: int) -> None:
    offset_type = ctypes.c_int64
    if LIBC.fallocate(file, mode, offset_type(offset), offset_type(length)) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def as_nobody(code: str, *arguments: object) -> int:
    """Runs code in a process of an unprivileged user: its exit code, 99 if it raised."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 99
    try:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.umask(0o022)
        exec(code, {"os": os, "sys": sys, "arguments": [str(argument) for argument in arguments]})
        status = 0
    except SystemExit as wanted:
        status = int(wanted.code or 0)
    except BaseException as error:
        os.write(2, f"{error!r}\n".encode())
    finally:
        os._exit(status)


@pytest.fixture
def base(any_fs: kibosh.Mount) -> Path:
    return any_fs.mountpoint


@pytest.fixture
def open_base(base: Path) -> Path:
    """The mount's root, made reachable for other users."""
    for directory in (base, *base.parents):
        if directory == Path("/tmp"):
            break
        os.chmod(directory, 0o777 if directory == base else 0o711)
    return base


def test_names(base: Path) -> None:
    (base / "a").write_bytes(b"a")
    (base / "b").write_bytes(b"b")
    with fails_with(errno.EEXIST):
        renameat2(base / "a", base / "b", RENAME_NOREPLACE)
    renameat2(base / "a", base / "b", RENAME_EXCHANGE)
    assert ((base / "a").read_bytes(), (base / "b").read_bytes()) == (b"b", b"a")
    os.link(base / "a", base / "c")
    assert (base / "a").stat().st_nlink == 2
    assert (base / "a").stat().st_ino == (base / "c").stat().st_ino
    (base / "c").write_bytes(b"through c")
    assert (base / "a").read_bytes() == b"through c"
    os.symlink("a", base / "l")
    assert os.readlink(base / "l") == "a" and (base / "l").read_bytes() == b"through c"
    os.mkfifo(base / "fifo")
    os.mknod(base / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    assert stat.S_ISFIFO((base / "fifo").stat().st_mode)
    assert (base / "null").stat().st_rdev == os.makedev(1, 3)
    with fails_with(errno.ENAMETOOLONG):
        (base / ("x" * 256)).write_bytes(b"")
    with fails_with(errno.ENOTEMPTY):
        (base / "d" / "e").mkdir(parents=True)
        (base / "d").rmdir()
    with fails_with(errno.ENOTDIR):
        (base / "a" / "x").write_bytes(b"")
    odd = base / "mit Leerzeichen, ümlaut\n\udcff"
    odd.write_bytes(b"odd")
    assert os.fsencode(odd.name) in os.listdir(os.fsencode(base))


def test_a_large_directory_is_listed_whole_and_once(base: Path) -> None:
    for number in range(600):
        (base / f"file-{number:05}").touch()
    names = os.listdir(base)
    assert sorted(names) == [f"file-{number:05}" for number in range(600)]
    assert sorted(entry.name for entry in os.scandir(base) if entry.is_file()) == sorted(names)
    (base / "file-00000").unlink()
    (base / "new").touch()
    assert set(os.listdir(base)) == set(names) - {"file-00000"} | {"new"}


def test_a_temporary_file_gets_its_name_at_last(base: Path) -> None:
    file = os.open(base, os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(file, b"temporary")
    assert os.listdir(base) == []
    give_name(file, base / "named")
    os.close(file)
    assert (base / "named").read_bytes() == b"temporary"
    assert (base / "named").stat().st_mode & 0o777 == 0o640


def test_a_file_deleted_while_open_stays_usable(base: Path) -> None:
    file = os.open(base / "file", os.O_RDWR | os.O_CREAT)
    os.write(file, b"still here")
    (base / "file").unlink()
    assert os.fstat(file).st_nlink == 0
    assert os.pread(file, 100, 0) == b"still here"
    os.ftruncate(file, 5)
    os.fchmod(file, 0o600)
    os.fsync(file)
    assert os.fstat(file).st_size == 5
    os.close(file)
    assert os.listdir(base) == []


def test_holes_and_preallocation(base: Path, any_fs: kibosh.Mount) -> None:
    file = os.open(base / "file", os.O_RDWR | os.O_CREAT)
    os.pwrite(file, b"x" * 4096, 1 << 20)
    assert os.lseek(file, 0, os.SEEK_DATA) == 1 << 20
    assert os.lseek(file, 1 << 20, os.SEEK_HOLE) == (1 << 20) + 4096
    assert os.fstat(file).st_blocks * 512 < 1 << 20
    os.pwrite(file, b"y" * 16384, 0)
    fallocate(file, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 4096, 8192)
    assert os.pread(file, 16384, 0) == b"y" * 4096 + bytes(8192) + b"y" * 4096
    fallocate(file, FALLOC_KEEP_SIZE, 2 << 20, 4096)
    assert os.fstat(file).st_size == (1 << 20) + 4096
    fallocate(file, 0, 2 << 20, 4096)
    assert os.fstat(file).st_size == (2 << 20) + 4096
    os.close(file)
    assert (any_fs.target / "file").stat().st_size == (2 << 20) + 4096


def test_copy_file_range_and_sendfile(base: Path) -> None:
    (base / "from").write_bytes(bytes(range(256)) * 100)
    source, target = os.open(base / "from", os.O_RDONLY), os.open(base / "to", os.O_RDWR | os.O_CREAT)
    assert os.copy_file_range(source, target, 5000, 100, 7) == 5000
    assert os.sendfile(target, source, 0, 100) == 100
    data = (bytes(range(256)) * 100)[100:5100]
    assert os.pread(target, 10_000, 100) == data[93:]
    os.close(source)
    os.close(target)


def test_locks_hold_among_processes(base: Path) -> None:
    path = base / "file"
    path.touch()
    code = (
        "import fcntl, sys\n"
        "file = open(sys.argv[1], 'r+')\n"
        "try: getattr(fcntl, sys.argv[2])(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except BlockingIOError: sys.exit(7)\n"
    )
    with path.open("r+") as file:
        for kind in ("flock", "lockf"):
            getattr(fcntl, kind)(file, fcntl.LOCK_EX)
            command = [sys.executable, "-c", code, str(path), kind]
            assert subprocess.run(command, check=False).returncode == 7
            getattr(fcntl, kind)(file, fcntl.LOCK_UN)
            assert subprocess.run(command, check=False).returncode == 0


def test_extended_attributes(base: Path) -> None:
    path = base / "file"
    path.touch()
    os.setxattr(path, "user.a", b"1" * 1000)
    with fails_with(errno.EEXIST):
        os.setxattr(path, "user.a", b"2", os.XATTR_CREATE)
    assert os.getxattr(path, "user.a") == b"1" * 1000
    assert os.listxattr(path) == ["user.a"]
    os.removexattr(path, "user.a")
    with fails_with(errno.ENODATA):
        os.getxattr(path, "user.a")


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def test_acls_are_stored_and_hold(open_base: Path) -> None:
    path = open_base / "file"
    path.write_bytes(b"secret")
    os.chmod(path, 0o600)
    everyone = 0xFFFFFFFF
    read = "try: os.open(arguments[0], os.O_RDONLY)\nexcept PermissionError: sys.exit(7)"
    assert as_nobody(read, path) == 7
    entries = acl((1, 6, everyone), (2, 4, NOBODY), (4, 0, everyone), (16, 4, everyone), (32, 0, everyone))
    os.setxattr(path, "system.posix_acl_access", entries)
    assert as_nobody(read, path) == 0
    assert os.getxattr(path, "system.posix_acl_access") == entries


def test_callers_keep_their_own_permissions_and_own_what_they_make(open_base: Path) -> None:
    (open_base / "private").write_bytes(b"x")
    os.chmod(open_base / "private", 0o600)
    os.mkdir(open_base / "group", 0o777)
    os.chown(open_base / "group", 0, 1234)
    os.chmod(open_base / "group", 0o2777)
    code = """
base = arguments[0]
for call in (lambda: os.open(base + "/private", os.O_RDONLY), lambda: os.chmod(base + "/private", 0o777)):
    try: call()
    except PermissionError: pass
    else: sys.exit(1)
os.close(os.open(base + "/mine", os.O_CREAT | os.O_WRONLY, 0o666))
os.mkdir(base + "/dir", 0o777)
os.symlink("x", base + "/link")
os.mkfifo(base + "/fifo", 0o666)
os.close(os.open(base + "/group/inner", os.O_CREAT | os.O_WRONLY, 0o666))
os.mkdir(base + "/group/dir")
"""
    assert as_nobody(code, open_base) == 0
    for name in ("mine", "dir", "link", "fifo"):
        found = os.lstat(open_base / name)
        assert (found.st_uid, found.st_gid) == (NOBODY, NOBODY)
    assert stat.S_IMODE(os.stat(open_base / "mine").st_mode) == 0o644
    assert stat.S_IMODE(os.stat(open_base / "dir").st_mode) == 0o755
    assert os.stat(open_base / "group" / "inner").st_gid == 1234
    assert os.stat(open_base / "group" / "dir").st_mode & stat.S_ISGID


def test_writing_clears_set_id_bits(open_base: Path) -> None:
    for number, code in enumerate(
        (
            "file = os.open(arguments[0], os.O_WRONLY); os.write(file, b'x'); os.close(file)",
            "os.truncate(arguments[0], 1)",
            "os.close(os.open(arguments[0], os.O_WRONLY | os.O_TRUNC))",
        )
    ):
        path = open_base / f"file{number}"
        path.write_bytes(b"hello")
        os.chmod(path, 0o6777)
        assert as_nobody(code, path) == 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o777, code


def test_times_modes_and_owners(base: Path) -> None:
    path = base / "file"
    path.touch()
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (1_000_000_001, 2_000_000_002)
    os.chown(path, 12, 34)
    os.chmod(path, 0o4711)
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12, 34, 0o4711)
    os.symlink("nowhere", base / "link")
    os.utime(base / "link", ns=(5, 7), follow_symlinks=False)
    os.lchown(base / "link", 1, 2)
    assert os.lstat(base / "link").st_mtime_ns == 7
    before = time.time_ns()
    path.write_bytes(b"new")
    assert path.stat().st_mtime_ns >= before - 1_000_000_000
    birth = subprocess.run(["stat", "-c", "%W", path], capture_output=True, text=True, check=True)
    assert int(birth.stdout) > 0


def test_mappings_shared_and_private(base: Path, any_fs: kibosh.Mount) -> None:
    path = base / "file"
    path.write_bytes(b"a" * 8192)
    with (
        path.open("r+b") as file,
        mmap.mmap(file.fileno(), 8192) as shared,
        mmap.mmap(file.fileno(), 8192, mmap.MAP_PRIVATE) as private,
    ):
        shared[5000] = ord("S")
        private[0] = ord("P")
        assert os.pread(file.fileno(), 1, 5000) == b"S"
        assert os.pread(file.fileno(), 1, 0) == b"a"
        os.pwrite(file.fileno(), b"W", 6000)
        assert shared[6000] == ord("W")
        shared.flush()
    assert (any_fs.target / "file").read_bytes()[5000:5001] == b"S"


def test_direct_io(base: Path) -> None:
    file = os.open(base / "file", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    with mmap.mmap(-1, 8192) as buffer:
        buffer[:] = b"d" * 8192
        assert os.pwritev(file, [buffer], 4096) == 8192
        with mmap.mmap(-1, 8192) as back:
            assert os.preadv(file, [back], 4096) == 8192
            assert back[:] == b"d" * 8192
    os.close(file)
    assert (base / "file").read_bytes() == bytes(4096) + b"d" * 8192


def test_direct_io_goes_past_the_targets_cache(base: Path, any_fs: kibosh.Mount) -> None:
    """What a disk demands of it, such as whole sectors, is what the caller is told."""

    def outcome(directory: Path) -> int:
        try:
            file = os.open(directory / "direct", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
            with mmap.mmap(-1, 4096) as buffer:
                return os.pwritev(file, [memoryview(buffer)[:100]], 0)
        except OSError as error:
            return -(error.errno or 0)
        finally:
            os.close(file)

    beneath = any_fs.target / "beneath"
    beneath.mkdir()
    assert outcome(base) == outcome(beneath)


def test_appending_by_several_at_once_loses_nothing(base: Path) -> None:
    code = "import os, sys\nfile = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
    code += "for number in range(200): os.write(file, b'0123456789abcde\\n')"
    children = [subprocess.Popen([sys.executable, "-c", code, str(base / "log")]) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert (base / "log").read_bytes() == b"0123456789abcde\n" * 600


def test_a_target_that_spans_devices(make_mount: MakeMount, tmp_path: Path) -> None:
    target = tmp_path / "target"
    other = target / "other"
    other.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", other], check=True)
    try:
        for directory in (target, other):
            (directory / "file").write_bytes(b"hello")
        fs = make_mount(target)
        inodes = {path.stat().st_ino for path in fs.mountpoint.rglob("*")}
        assert len(inodes) == 3
        with fails_with(errno.EXDEV):
            os.rename(fs.mountpoint / "file", fs.mountpoint / "other" / "moved")
        (fs.mountpoint / "other" / "new").write_bytes(b"new")
        assert (other / "new").read_bytes() == b"new"
        fs.unmount()
    finally:
        subprocess.run(["umount", "-l", other], check=True)


def test_coherent_mode_sees_changes_beneath_within_a_second(make_mount: MakeMount) -> None:
    fs = make_mount(mode="coherent")
    path, beneath = fs.mountpoint / "file", fs.target / "file"
    path.write_bytes(b"one")
    assert path.read_bytes() == b"one" and not (fs.mountpoint / "new").exists()
    time.sleep(0.01)
    beneath.write_bytes(b"two, longer")
    (fs.target / "new").touch()
    deadline = time.monotonic() + 10
    start = time.monotonic()
    while path.read_bytes() != b"two, longer" or not (fs.mountpoint / "new").exists():
        assert time.monotonic() < deadline, "the change is never seen"
        time.sleep(0.05)
    assert time.monotonic() - start < 10


def test_coherent_mode_appends_behind_what_was_appended_beneath(make_mount: MakeMount) -> None:
    fs = make_mount(mode="coherent")
    large = b"l" * (1 << 18)
    (fs.mountpoint / "file").write_bytes(b"start,")
    with (
        open(fs.mountpoint / "file", "ab", buffering=0) as through,
        open(fs.target / "file", "ab", buffering=0) as beneath,
    ):
        beneath.write(b"beneath,")
        through.write(b"through,")
        beneath.write(b"again,")
        through.write(large)
        fs.set([kibosh.TornWrite(survive="none")])
        beneath.write(b"third,")
        through.write(b"torn,")
    fs.clear()
    whole = b"start,beneath,through,again," + large + b"third," + bytes(5)
    assert (fs.target / "file").read_bytes() == whole
    assert (fs.mountpoint / "file").read_bytes() == whole


def test_thousands_of_open_files(fs: kibosh.Mount) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    files = []
    try:
        for number in range(min(1500, hard // 4)):
            files.append(os.open(fs.mountpoint / str(number), os.O_RDWR | os.O_CREAT))
        os.pwrite(files[-1], b"last", 0)
        assert (fs.mountpoint / str(len(files) - 1)).read_bytes() == b"last"
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_files_than_descriptors_can_be_known(tmp_path: Path, make_mount: MakeMount) -> None:
    """The oldest are forgotten; nobody notices."""
    target, mountpoint = tmp_path / "t", tmp_path / "m"
    target.mkdir()
    mountpoint.mkdir()
    mount = f"ulimit -n 256; exec {sys.executable} -m kibosh {mountpoint} {target} -l {tmp_path}/log"
    package = str(Path(kibosh.__file__).parent.parent)
    subprocess.run(["bash", "-c", mount], check=True, env={**os.environ, "PYTHONPATH": package}, timeout=60)
    try:
        for number in range(700):
            directory = mountpoint / f"d{number % 7}"
            directory.mkdir(exist_ok=True)
            (directory / str(number)).write_bytes(b"x")
        assert sum(len(files) for _, _, files in os.walk(mountpoint)) == 700
        assert (mountpoint / "d0" / "0").read_bytes() == b"x"
        assert kibosh.Control(mountpoint).stats()["knownFiles"] < 256
    finally:
        kibosh.unmount(mountpoint)


def test_a_target_that_vanishes_is_an_errno(make_mount: MakeMount) -> None:
    fs = make_mount()
    (fs.mountpoint / "file").write_bytes(b"x")
    fs.target.rename(fs.target.with_name("elsewhere"))
    assert (fs.mountpoint / "file").read_bytes() == b"x"
    (fs.target.with_name("elsewhere") / "file").unlink()
    fs.target.with_name("elsewhere").rmdir()
    with pytest.raises(OSError):
        (fs.mountpoint / "new").write_bytes(b"x")
    assert fs.faults() == []
    assert "the target is gone" in fs.mountpoint.with_name("kibosh0.log").read_text()


def test_a_full_target_is_enospc_and_a_line_in_the_log(make_mount: MakeMount, tmp_path: Path) -> None:
    target = tmp_path / "small"
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", target], check=True)
    try:
        fs = make_mount(target)
        with fails_with(errno.ENOSPC), open(fs.mountpoint / "file", "wb", buffering=0) as file:
            file.write(bytes(1 << 20))
            os.fsync(file)
        assert "No space left" in fs.mountpoint.with_name("kibosh0.log").read_text()
        fs.unmount()
    finally:
        subprocess.run(["umount", "-l", target], check=True)
