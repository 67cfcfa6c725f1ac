"""Starts a process from its recipe (see ``restart.py``), and ends.

A small program of its own, ``launch.py <recipe``, so that what is started is nobody's child, has none of the agent's
threads, locks or descriptors, and outlives it. Standard library only. It waits until the process that it replaces is
gone; then it goes where that was (cgroups, namespaces) and becomes what that was.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

GONE_S = 1.5
"""So long the process before may take to be gone, once it was killed."""

NAMESPACES = ("uts", "ipc", "net", "mnt", "pid")
"""In the order in which they are entered; behind ``mnt``, /proc is another."""


def await_gone(key: str) -> None:
    """Returns when ``pid@start`` is gone or dead. Raises TimeoutError."""
    pid, _, started = key.partition("@")
    until = time.monotonic() + GONE_S
    while time.monotonic() < until:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return
        if fields[0] in (b"Z", b"X") or int(fields[19]) != int(started):
            return
        time.sleep(0.005)
    raise TimeoutError(f"process {key} is still there {GONE_S:g} s after it was killed: nothing was started")


def join_cgroups(wanted: Sequence[str]) -> None:
    """Goes into the cgroups, as ``/proc/PID/cgroup`` lists them; one that is gone, or not ours to join, is left out."""
    with open("/proc/self/cgroup") as file:
        missing = set(wanted) - set(file.read().splitlines())
    with open("/proc/self/mountinfo") as file:
        mounts = [line.split() for line in file]
    for entry in missing:
        _, controllers, path = entry.split(":", 2)
        for fields in mounts:
            kind, options = fields[fields.index("-") + 1], fields[-1].split(",")
            if kind == ("cgroup" if controllers else "cgroup2") and {*controllers.split(",")} <= {*options, ""}:
                with contextlib.suppress(OSError), open(f"{fields[4]}{path}/cgroup.procs", "w") as procs:
                    procs.write(str(os.getpid()))


def enter_namespaces(of_pid: int) -> None:
    """The namespaces of another process; the pid namespace is that of children from now on. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    for name, fd in [(name, os.open(f"/proc/{of_pid}/ns/{name}", os.O_RDONLY)) for name in NAMESPACES]:
        same = os.fstat(fd).st_ino == os.stat(f"/proc/self/ns/{name}").st_ino
        if not same and libc.setns(fd, 0) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the {name} namespace of process {of_pid}")
        os.close(fd)


def close_on_exec() -> None:
    """The program gets none of our descriptors, a journal's lock among them, but its streams."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            os.set_inheritable(int(name), int(name) < 3)


def open_streams(streams: Sequence[Any]) -> None:
    """Standard input, output and error: the file that each was, or nothing."""
    for number, stream in enumerate(streams):
        path, flags = (os.devnull, os.O_RDWR) if stream is None else (stream["path"], stream["flags"])
        written = os.O_APPEND | os.O_CREAT if flags & os.O_ACCMODE and stream else 0
        fd = os.open(path, flags | written | os.O_NOCTTY, 0o644)
        os.dup2(fd, number)
        os.close(fd)


def take_limits(recipe: dict[str, Any]) -> None:
    """Limits, niceness, processors, as far as they are ours to set: that it runs at all matters more."""
    forgiving = contextlib.suppress(OSError, ValueError)
    for number, (soft, hard) in recipe.get("limits", {}).items():
        with forgiving:
            resource.setrlimit(int(number), (soft, hard))
    with forgiving:
        os.setpriority(os.PRIO_PROCESS, 0, recipe.get("nice", 0))
    with forgiving:
        os.sched_setaffinity(0, recipe.get("processors") or os.sched_getaffinity(0))
    with forgiving, open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(recipe.get("oomScoreAdj", 0)))


def become(recipe: dict[str, Any]) -> NoReturn:
    """Turns into the program. Raises OSError when that is not possible."""
    os.setsid()
    take_limits(recipe)
    open_streams(recipe["streams"])
    os.umask(recipe.get("umask", 0o022))
    if "user" in recipe:
        user, group, groups = recipe["user"], recipe["group"], recipe["groups"]
        if os.geteuid() == 0:
            os.setgroups(groups)
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    os.chdir(recipe["directory"])
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    environment = dict(entry.partition("=")[::2] for entry in recipe["environment"])
    if recipe.get("program"):
        os.execve(recipe["program"], recipe["arguments"], environment)
    os.execvpe(recipe["arguments"][0], recipe["arguments"], environment)


def main() -> None:
    """Reads the recipe, starts, says on standard error why not. Exit code 0: the program runs."""
    recipe = json.load(sys.stdin)
    await_gone(recipe["after"])
    join_cgroups(recipe.get("cgroups", ()))
    if recipe["place"] is not None:
        enter_namespaces(recipe["place"])
    told, tell = os.pipe()
    if os.fork() == 0:
        try:
            close_on_exec()
            become(recipe)
        except BaseException as error:
            os.write(tell, f"{type(error).__name__}: {error}".encode())
            os._exit(1)
    os.close(tell)
    why = os.read(told, 4096).decode()
    if why:
        sys.exit(f"{' '.join(recipe['arguments'])[:200]}: could not be started again: {why}")


if __name__ == "__main__":
    main()
