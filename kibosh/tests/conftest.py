"""Mounts for the tests: under tmp_path, in a mount namespace of the test process, always unmounted."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

import kibosh
from kibosh.mount import is_mounted

CLONE_NEWNS, CLONE_NEWIPC = 0x20000, 0x8000000
MS_REC_PRIVATE = 0x4000 | 0x40000
AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400
LIBC = ctypes.CDLL(None, use_errno=True)


def pytest_configure() -> None:
    """No mount outlives the process, however it ends, nor the shared memory of a server that was killed."""
    if os.geteuid() == 0 and LIBC.unshare(CLONE_NEWNS | CLONE_NEWIPC) == 0:
        LIBC.mount(b"none", b"/", None, MS_REC_PRIVATE, None)
        LIBC.mount(b"none", b"/dev/shm", b"tmpfs", 0, None)


def give_name(file: int, path: Path) -> None:
    """A file made with O_TMPFILE gets a name; os.link would link the link in /proc."""
    source, target = os.fsencode(f"/proc/self/fd/{file}"), os.fsencode(path)
    if LIBC.linkat(AT_FDCWD, source, AT_FDCWD, target, AT_SYMLINK_FOLLOW) != 0:
        raise OSError(ctypes.get_errno(), "linkat", str(path))


def wait_until(true: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


class MakeMount(Protocol):
    def __call__(self, target: Path | None = None, *, mode: str = ..., seed: int = ...) -> kibosh.Mount: ...


class Mounts:
    """Mounts below one directory."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.made: list[kibosh.Mount] = []

    def make(self, target: Path | None = None, *, mode: str = "fast", seed: int = 1) -> kibosh.Mount:
        if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
            pytest.skip("needs root and /dev/fuse")
        number = len(self.made)
        target = target or self.base / f"target{number}"
        mountpoint = self.base / f"mount{number}"
        target.mkdir(exist_ok=True)
        mountpoint.mkdir()
        log = self.base / f"kibosh{number}.log"
        fs = kibosh.Mount(target, mountpoint, mode=mode, seed=seed, allow_other=True, log=log)
        fs.mount()
        self.made.append(fs)
        return fs

    def end(self) -> None:
        for fs in self.made:
            try:
                fs.unmount()
            finally:
                while is_mounted(str(fs.mountpoint)):
                    subprocess.run(["umount", "-l", str(fs.mountpoint)], check=True)


@pytest.fixture
def make_mount(tmp_path: Path) -> Iterator[MakeMount]:
    """Mounts as many as asked for; each target is new unless given."""
    mounts = Mounts(tmp_path)
    yield mounts.make
    mounts.end()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, kibosh.Mount]]:
    """One mount for each mode, made when first needed."""
    mounts = Mounts(tmp_path_factory.mktemp("shared"))

    class Shared(dict[str, kibosh.Mount]):
        def __missing__(self, mode: str) -> kibosh.Mount:
            self[mode] = mounts.make(mode=mode)
            return self[mode]

    yield Shared()
    mounts.end()


def emptied(fs: kibosh.Mount) -> Iterator[kibosh.Mount]:
    """A mount that is empty and without faults before and after."""
    yield fs
    fs.clear()
    for path in fs.mountpoint.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@pytest.fixture
def fs(shared: dict[str, kibosh.Mount]) -> Iterator[kibosh.Mount]:
    """A mount in fast mode."""
    yield from emptied(shared["fast"])


@pytest.fixture(params=["fast", "coherent"])
def any_fs(shared: dict[str, kibosh.Mount], request: pytest.FixtureRequest) -> Iterator[kibosh.Mount]:
    """A mount in each mode."""
    yield from emptied(shared[request.param])
