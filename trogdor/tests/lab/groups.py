"""A control group of a test's own: made, filled with its own processes, emptied and removed."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Group:
    """A directory of the hierarchy of version 2."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = f"{directory}@{directory.stat().st_ino}"

    def add(self, pid: int) -> None:
        """Moves a process there; ``pid`` as the caller counts."""
        (self.directory / "cgroup.procs").write_text(str(pid))

    def thaw(self) -> None:
        (self.directory / "cgroup.freeze").write_text("0")

    @property
    def is_frozen(self) -> bool:
        """Whether the kernel says that all in it rest."""
        return "frozen 1" in (self.directory / "cgroup.events").read_text().splitlines()


def why_no_group() -> str:
    """Why no group can be made here; empty where one can."""
    top = _top()
    if top is None:
        return "no cgroup2 is mounted here"
    return "" if os.access(top, os.W_OK) else f"{top} cannot be written"


def _top() -> Path | None:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return next((Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"), None)


@contextmanager
def control_group() -> Iterator[Group]:
    top = _top()
    assert top is not None
    directory = top / f"trogdor-test-{secrets.token_hex(4)}"
    directory.mkdir()
    group = Group(directory)
    try:
        yield group
    finally:
        group.thaw()
        (directory / "cgroup.kill").write_text("1")
        until = time.monotonic() + 30
        while (directory / "cgroup.procs").read_text().strip() and time.monotonic() < until:
            time.sleep(0.01)
        directory.rmdir()
