"""What /proc shows of processes, and which of them are never to be stopped. Standard library only."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trogdor.claim.place import Place
from trogdor.platform.linux import java
from trogdor.platform.linux.inside import read_text

KERNEL_THREAD = 0x00200000
"""PF_KTHREAD in the flags of /proc/PID/stat."""

MOST_OF_A_PID_FILE, MOST_OF_PASSWD = 32, 1 << 20

_STATE, _PARENT, _FLAGS, _STARTED = 0, 1, 6, 19
"""Fields of /proc/PID/stat behind the command, which stands in parentheses and may hold anything."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process. ``started`` is in clock ticks since the boot; with it a pid that is used again is another's."""

    pid: int
    started: int
    parent: int
    state: str
    """As in /proc: R, S, D, T (stopped), t (traced), Z (dead, not yet waited for)."""
    command: str
    """What the process calls itself, cut to 15 bytes by the kernel."""
    arguments: tuple[str, ...] = ()
    kernel: bool = False

    @property
    def key(self) -> str:
        """Its claims' key."""
        return f"{self.pid}@{self.started}"

    @property
    def words(self) -> str:
        """For the status: ``etcd (pid 17)``."""
        return f"{self.command} (pid {self.pid})"


def read(pid: int) -> Process | None:
    """A process as it is now; None when it is gone, or dead and not waited for."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes().decode(errors="replace")
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return None
    command = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    if fields[_STATE] in ("Z", "X", "x"):
        return None
    return Process(
        pid=pid,
        started=int(fields[_STARTED]),
        parent=int(fields[_PARENT]),
        state=fields[_STATE],
        command=command,
        arguments=tuple(arguments.rstrip("\0").split("\0")) if arguments else (),
        kernel=bool(int(fields[_FLAGS]) & KERNEL_THREAD),
    )


def of_key(key: str) -> Process | None:
    """The process that a claim's key names, if it still is that one."""
    pid, _, started = key.partition("@")
    process = read(int(pid))
    return process if process is not None and process.started == int(started) else None


def everyone(place: Place) -> list[Process]:
    """The place's processes, by pid: all that can be seen from here, or those of its pid namespace."""
    found = (read(int(name)) for name in os.listdir("/proc") if name.isdecimal())
    return sorted(
        (process for process in found if process is not None and _is_in(place, process)),
        key=lambda process: process.pid,
    )


def _is_in(place: Place, process: Process) -> bool:
    if place.root_pid is None:
        return True
    try:
        return os.stat(f"/proc/{process.pid}/ns/pid").st_ino == place.pid
    except OSError:
        return False


def is_untouchable(process: Process) -> bool:
    """Never stopped: pid 1, the kernel's threads, systemd, sshd, Trogdor itself, and the one who asks."""
    return (
        process.pid in (1, os.getpid(), os.getppid())
        or process.kernel
        or process.command == "init"
        or process.command.startswith(("systemd", "(sd-", "sshd"))
        or _is_trogdor(process.arguments)
    )


def _is_trogdor(arguments: Sequence[str]) -> bool:
    if any(os.path.basename(argument) == "trogdor" for argument in arguments[:2]):
        return True
    if not arguments or "python" not in os.path.basename(arguments[0]):
        return False
    return any(
        re.match(r"trogdor(\.|$)|.*\b(from|import) trogdor\b|.*/trogdor/platform/linux/", argument, re.S)
        for argument in arguments[1:8]
    )


def find(place: Place, match: Mapping[str, str]) -> list[Process]:
    """The processes that meet every field given: ``name``, ``pattern``, ``pidFile``, ``user``, ``javaMain``.

    Raises OSError when a pid file or user is asked for that the node does not have, re.error for a bad pattern.
    """
    tests = [_TESTS[field](value, place) for field, value in match.items()]
    return [
        process for process in everyone(place) if not is_untouchable(process) and all(test(process) for test in tests)
    ]


def descendants(of: Sequence[Process], place: Place) -> list[Process]:
    """These and all their descendants, parents before their children."""
    by_parent: dict[int, list[Process]] = {}
    for process in everyone(place):
        by_parent.setdefault(process.parent, []).append(process)
    found: dict[int, Process] = {}
    waiting = list(of)
    while waiting:
        process = waiting.pop(0)
        if process.pid not in found and not is_untouchable(process):
            found[process.pid] = process
            waiting += by_parent.get(process.pid, [])
    return list(found.values())


Test = Callable[[Process], bool]


def _named(name: str, place: Place) -> Test:
    def test(process: Process) -> bool:
        first = os.path.basename(process.arguments[0]) if process.arguments else ""
        return name in (process.command, first, _program(process.pid))

    return test


def _program(pid: int) -> str:
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")).removesuffix(" (deleted)")
    except OSError:
        return ""


def _like(pattern: str, place: Place) -> Test:
    compiled = re.compile(pattern)
    return lambda process: compiled.search(" ".join(process.arguments)) is not None


def _in_pid_file(path: str, place: Place) -> Test:
    text = read_text(place, path, MOST_OF_A_PID_FILE).strip()
    if not text.isdecimal():
        raise OSError(f"{path} holds no process id")
    return lambda process: _own_pid(process.pid) == int(text)


def _of_user(user: str, place: Place) -> Test:
    uid = int(user) if user.isdecimal() else _uid_of(user, place)
    return lambda process: _uid(process.pid) == uid


def _java_main(name: str, place: Place) -> Test:
    return lambda process: name in java.names_of(process.pid, process.arguments)


_TESTS = {"name": _named, "pattern": _like, "pidFile": _in_pid_file, "user": _of_user, "javaMain": _java_main}


def _own_pid(pid: int) -> int:
    """What a process calls itself in its own pid namespace."""
    return int((_status(pid, "NSpid:") or [str(pid)])[-1])


def _uid(pid: int) -> int:
    return int((_status(pid, "Uid:") or ["-1"])[0])


def _status(pid: int, field: str) -> list[str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return []
    return next((line.split()[1:] for line in lines if line.startswith(field)), [])


def _uid_of(user: str, place: Place) -> int:
    for line in read_text(place, "/etc/passwd", MOST_OF_PASSWD).splitlines():
        name, _, rest = line.partition(":")
        if name == user:
            return int(rest.split(":")[1])
    raise OSError(f"the node has no user {user!r}")
