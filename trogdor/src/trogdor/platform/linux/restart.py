"""How a process is started again as it was: all that /proc tells of it, as JSON for the journal.

Standard library only. What cannot be had again is told beforehand (``problems``), and then the process is not killed.
"""

import json
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trogdor.claim.journal import HELD
from trogdor.claim.model import Json
from trogdor.claim.place import Place
from trogdor.platform.linux import processes
from trogdor.platform.linux.processes import Process

MARK = "TROGDOR_STARTED_FOR"
"""In the environment of what was started: the key of the process that it replaces, so that it is started once."""

MOST_BYTES = 1 << 18
"""Arguments and environment larger than this are not taken into the journal."""

USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INSTEAD = "name the command that starts it (restartCommand)"

Recipe = dict[str, Json]


def recipe_of(process: Process, place: Place) -> Recipe:
    """What ``launch`` needs to start a process as it is now. Raises OSError when it is gone or not ours to look at."""
    proc = f"/proc/{process.pid}"
    status = _status(process.pid)
    return {
        "program": os.readlink(f"{proc}/exe"),
        "arguments": _words(f"{proc}/cmdline"),
        "environment": [each for each in _words(f"{proc}/environ") if not each.startswith(f"{MARK}=")],
        "directory": os.readlink(f"{proc}/cwd"),
        "user": int(status["Uid"][1]), "group": int(status["Gid"][1]), "groups": [*map(int, status["Groups"])],
        "umask": int(status.get("Umask", ["022"])[0], 8),
        "nice": os.getpriority(os.PRIO_PROCESS, process.pid),
        "processors": sorted(os.sched_getaffinity(process.pid)),
        "oomScoreAdj": int(Path(f"{proc}/oom_score_adj").read_text()),
        "limits": _limits(Path(f"{proc}/limits").read_text()),
        "cgroups": Path(f"{proc}/cgroup").read_text().splitlines(),
        "streams": [_stream(process.pid, number, place) for number in range(3)],
    }  # fmt: skip


_LIMITS = {
    "Max cpu time": resource.RLIMIT_CPU, "Max file size": resource.RLIMIT_FSIZE, "Max data size": resource.RLIMIT_DATA,
    "Max stack size": resource.RLIMIT_STACK, "Max core file size": resource.RLIMIT_CORE,
    "Max resident set": resource.RLIMIT_RSS, "Max processes": resource.RLIMIT_NPROC,
    "Max open files": resource.RLIMIT_NOFILE, "Max locked memory": resource.RLIMIT_MEMLOCK,
    "Max address space": resource.RLIMIT_AS, "Max pending signals": resource.RLIMIT_SIGPENDING,
    "Max msgqueue size": resource.RLIMIT_MSGQUEUE, "Max nice priority": resource.RLIMIT_NICE,
    "Max realtime priority": resource.RLIMIT_RTPRIO,
}  # fmt: skip
"""The words of /proc/PID/limits; another user's limits cannot be asked for by prlimit(2) everywhere."""


def _limits(text: str) -> dict[str, list[int]]:
    found = {}
    for line in text.splitlines():
        if (name := line[:26].strip()) in _LIMITS:
            soft, hard = line[26:].split()[:2]
            found[str(_LIMITS[name])] = [
                resource.RLIM_INFINITY if it == "unlimited" else int(it) for it in (soft, hard)
            ]
    return found


def recipe_of_command(command: Sequence[str]) -> Recipe:
    """A command of the user's own, with little around it."""
    environment = [f"PATH={os.environ.get('PATH', USUAL_PATH)}", "HOME=/root", "LANG=C.UTF-8"]
    return {
        "arguments": list(command), "environment": environment, "directory": "/", "streams": [None, None, None],
    }  # fmt: skip


def problems(process: Process, recipe: Recipe, place: Place) -> list[str]:
    """Why a process could not be had again as it is; each says what to do instead."""
    root = place.root_pid or os.getpid()
    status = _status(process.pid)
    found = [f"its {name} namespace is its own, and ends with it" for name in _foreign(process.pid, root)]
    if os.readlink(f"/proc/{process.pid}/root") != "/":
        found.append("it is in a chroot")
    if recipe["program"].endswith(" (deleted)"):
        found.append("its program was replaced or removed since it was started")
    if int(status.get("CapAmb", ["0"])[0], 16):
        found.append("it has capabilities of its own")
    if not recipe["arguments"] or ": " in recipe["arguments"][0]:
        found.append("it has changed its command line")
    if os.geteuid() and recipe["user"] != os.geteuid():
        found.append(f"it runs as user {recipe['user']}, and the agent does not run as root")
    if len(json.dumps(recipe)) > MOST_BYTES:
        found.append(f"its arguments and environment are larger than {MOST_BYTES >> 10} KiB")
    return [f"{process.words} cannot be started again as it was: {why}; {INSTEAD}" for why in found]


def _foreign(pid: int, root: int) -> Iterator[str]:
    for name in ("user", "mnt", "uts", "ipc", "net", "pid"):
        if os.stat(f"/proc/{pid}/ns/{name}").st_ino != os.stat(f"/proc/{root}/ns/{name}").st_ino:
            yield name


def _words(path: str) -> list[str]:
    text = os.fsdecode(Path(path).read_bytes())
    return text.removesuffix("\0").split("\0") if text else []


def _status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


def _stream(pid: int, number: int, place: Place) -> Json:
    """The file behind a stream; None for what cannot be opened again: a pipe, a socket, a file that is gone."""
    link = f"/proc/{pid}/fd/{number}"
    try:
        path, known = os.readlink(link), os.stat(link)
        again = os.stat(f"/proc/{place.root_pid or os.getpid()}/root{path}")
        flags = next(
            int(line.split()[1], 8)
            for line in Path(f"/proc/{pid}/fdinfo/{number}").read_text().splitlines()
            if line.startswith("flags:")
        )
    except (OSError, StopIteration):
        return None
    is_file = stat.S_ISREG(known.st_mode) or stat.S_ISCHR(known.st_mode)
    if not is_file or (known.st_dev, known.st_ino) != (again.st_dev, again.st_ino):
        return None
    return {"path": path, "flags": flags & (os.O_ACCMODE | os.O_APPEND)}


def alike(recipe: Recipe, place: Place) -> list[Process]:
    """The place's processes with this program, these arguments and this user."""
    return [process for process in processes.everyone(place) if _is_alike(process, recipe, place)]


def _is_alike(process: Process, recipe: Recipe, place: Place) -> bool:
    try:
        return (
            _words(f"/proc/{process.pid}/cmdline") == recipe["arguments"]
            and os.stat(f"/proc/{process.pid}/ns/pid").st_ino == place.pid
            and os.readlink(f"/proc/{process.pid}/exe") == recipe["program"]
            and os.stat(f"/proc/{process.pid}").st_uid == recipe["user"]
        )
    except OSError:
        return False


def started_for(key: str, place: Place) -> Process | None:
    """What was started for ``key``, or is being started."""
    return next((process for process in processes.everyone(place) if mark_of(process) == key), None)


def mark_of(process: Process) -> str:
    """For which process this one was started; empty where it was not started by us."""
    try:
        words = _words(f"/proc/{process.pid}/environ")
    except OSError:
        return ""
    return next((each.removeprefix(f"{MARK}=") for each in words if each.startswith(f"{MARK}=")), "")


def launch(key: str, recipe: Recipe, place: Place) -> "subprocess.Popen[Any]":
    """Starts the launcher, which starts the program once process ``key`` is gone; does not wait. Raises OSError.

    The launcher holds the journal's lock until the program runs, so that nobody else starts it a second time.
    """
    marked = [*recipe["environment"], f"{MARK}={key}"]
    given = os.memfd_create("recipe")
    try:
        document = {**recipe, "environment": marked, "after": key, "place": place.root_pid}
        with os.fdopen(os.dup(given), "wb") as file:
            file.write(json.dumps(document).encode())
        os.lseek(given, 0, os.SEEK_SET)
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py"))],
            stdin=given, pass_fds=tuple(HELD), env={**os.environ, MARK: key}, start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(given)
