"""Mounts for the tests: under tmp_path, in a mount namespace of the test process, always unmounted."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

import kibosh
from kibosh.mount import is_mounted

CLONE_NEWNS = 0x20000
MS_REC_PRIVATE = 0x4000 | 0x40000


def pytest_configure() -> None:
    """Nothing mounted here outlives the process, however it ends."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNS) == 0:
            libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None)


class MakeMount(Protocol):
    def __call__(self, target: Path | None = None, *, mode: str = ..., seed: int = ...) -> kibosh.Mount: ...


@pytest.fixture
def make_mount(tmp_path: Path) -> Iterator[MakeMount]:
    """Mounts as many as asked for; each target is new unless given."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root and /dev/fuse")
    mounts: list[kibosh.Mount] = []

    def make(target: Path | None = None, *, mode: str = "fast", seed: int = 1) -> kibosh.Mount:
        number = len(mounts)
        target = target or tmp_path / f"target{number}"
        mountpoint = tmp_path / f"mount{number}"
        target.mkdir(exist_ok=True)
        mountpoint.mkdir()
        log = tmp_path / f"kibosh{number}.log"
        fs = kibosh.Mount(target, mountpoint, mode=mode, seed=seed, allow_other=True, log=log)
        fs.mount()
        mounts.append(fs)
        return fs

    yield make
    for fs in mounts:
        try:
            fs.unmount()
        finally:
            while is_mounted(str(fs.mountpoint)):
                subprocess.run(["umount", "-l", str(fs.mountpoint)], check=True)


@pytest.fixture
def fs(make_mount: MakeMount) -> kibosh.Mount:
    """A mount in fast mode."""
    return make_mount()


@pytest.fixture(params=["fast", "coherent"])
def any_fs(make_mount: MakeMount, request: pytest.FixtureRequest) -> kibosh.Mount:
    """A mount in each mode."""
    return make_mount(mode=request.param)
