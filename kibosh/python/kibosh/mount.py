"""Mounting Kibosh from Python. The file system is served by a process of its own."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from kibosh.control import Control

__all__ = ["Mount", "MountError", "unmount"]

MNT_DETACH = 2
MOST_LINKS = 40


class MountError(OSError):
    """A mount could not be made."""


class Mount(Control):
    """A directory under Kibosh while this process lives: if it is killed, the daemon unmounts in good order.

    target: the directory whose files are served. mountpoint: where; it may be the target itself, which
    is then hidden beneath. mode: "fast" (the mount alone changes the target) or "coherent" (changes made
    in the target are seen within a second). allow_other: let other users in. seed: of random choices.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        mountpoint: str | os.PathLike[str],
        *,
        mode: str = "fast",
        allow_other: bool = False,
        seed: int | None = None,
        log: str | os.PathLike[str] | None = None,
        verbose: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(Path(mountpoint).absolute())
        if mode not in ("fast", "coherent"):
            raise ValueError(f'mode is "fast" or "coherent", not {mode!r}')
        self.target = Path(target).absolute()
        self.seed = secrets.randbits(63) if seed is None else seed
        arguments = ["--foreground", "--mode", mode, f"--random-seed={self.seed}"]
        arguments += ["--allow-other"] * allow_other + ["--verbose"] * verbose
        arguments += [f"--log={log}"] if log is not None else []
        arguments += [f"-o{option}" for option in options]
        self._arguments = [*arguments, "--target", str(self.target), str(self.mountpoint)]
        self._daemon: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None

    @property
    def pid(self) -> int | None:
        """The daemon's process, while there is one."""
        return self._daemon.pid if self._daemon else None

    def mount(self) -> None:
        """Starts the daemon and returns when the mount can be used. Raises MountError."""
        if self._daemon:
            raise MountError(f"{self.mountpoint} is mounted already")
        ready, theirs = os.pipe()
        lives, lifeline = os.pipe()
        package = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(part for part in (package, os.environ.get("PYTHONPATH")) if part)
        command = [sys.executable, "-m", "kibosh", f"--ready-fd={theirs}", f"--owner-fd={lives}"]
        environment = {**os.environ, "PYTHONPATH": path}
        try:
            self._daemon = subprocess.Popen(
                [*command, *self._arguments],
                pass_fds=[theirs, lives],
                env=environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            os.close(lifeline)
            os.close(ready)
            raise
        finally:
            os.close(theirs)
            os.close(lives)
        self._lifeline = lifeline
        told = os.read(ready, 4096)
        os.close(ready)
        if told != b".":
            self._wait()
            self._daemon = None
            raise MountError(
                told.decode(errors="replace") or f"no mount at {self.mountpoint}: the daemon died"
            )

    def unmount(self, timeout_seconds: float = 30) -> None:
        """Writes back, unmounts and waits for the daemon's end. A daemon that does not end is killed."""
        if not self._daemon:
            return
        self._daemon.send_signal(signal.SIGTERM)
        try:
            self._wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self._daemon = None
        unmount(self.mountpoint)

    def kill(self) -> None:
        """Kills the daemon, as a crash would: the mount answers ENOTCONN until `unmount`."""
        if self._daemon:
            self._daemon.kill()
            self._wait()

    def _wait(self, timeout_seconds: float | None = None) -> None:
        """For the end of the daemon, which needs to know of ours no longer then."""
        if self._daemon:
            self._daemon.wait(timeout_seconds)
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def __enter__(self) -> Mount:
        self.mount()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.unmount()


def unmount(mountpoint: str | os.PathLike[str]) -> bool:
    """Removes a Kibosh from its mountpoint, dead or alive. False if there was none. Raises OSError."""
    path = _mounted(mountpoint)
    if path is None:
        return False
    if os.geteuid() != 0:
        subprocess.run(["fusermount3", "-u", "-z", "--", path], check=True)
    elif _umount(path, 0) != 0 and _umount(path, MNT_DETACH) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return True


def wait_until_gone(mountpoint: str, pid: int, timeout_seconds: float) -> bool:
    """Waits for a daemon that is not our child to end."""
    deadline = time.monotonic() + timeout_seconds
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_mounted(mountpoint)


def _runs(pid: int) -> bool:
    """Whether a process is there and not only waits to be reaped, as in a container perhaps for ever."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def is_mounted(path: str | os.PathLike[str]) -> bool:
    """Whether a Kibosh is mounted there, even one whose daemon is dead."""
    return _mounted(path) is not None


def _mounted(path: str | os.PathLike[str]) -> str | None:
    """Where the Kibosh is mounted that a path names, perhaps by links. It is not asked: it may hang."""
    mounts = set()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("fuse.kibosh "):
            mounts.add(_unescape(before.split(" ")[4]))
    place = os.path.abspath(path)
    for _ in range(MOST_LINKS):
        if place in mounts:
            break
        place = os.path.join(os.path.realpath(os.path.dirname(place)), os.path.basename(place))
        if place in mounts or not os.path.islink(place):
            break
        place = os.path.abspath(os.path.join(os.path.dirname(place), os.readlink(place)))
    return place if place in mounts else None


def _unescape(path: str) -> str:
    for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(octal, character)
    return path


def _umount(path: str, flags: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.umount2(os.fsencode(path), flags))
