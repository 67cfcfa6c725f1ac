"""Where the running labs of a user are found, and the sweep of what a killed keeper left."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trogdor.lab.plan import Plan

PLAN_FILE = "lab.json"
_LOCK_FILE = "lock"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}")


class LabError(Exception):
    """A lab that cannot be: what, why, and what to do about it."""


class UnknownLab(LabError):
    """A lab or node that is not there, or a name that cannot be given."""


def runtime_directory() -> Path:
    """`/run/trogdor` for root, else `$XDG_RUNTIME_DIR/trogdor`, else `/tmp/trogdor-UID`; made if missing.

    One that cannot be made, or belongs to somebody else, is passed over. Raises LabError when all are.
    """
    uid = os.geteuid()
    candidates = [Path(f"/tmp/trogdor-{uid}")]
    if os.environ.get("XDG_RUNTIME_DIR"):
        candidates.insert(0, Path(os.environ["XDG_RUNTIME_DIR"], "trogdor"))
    if uid == 0:
        candidates.insert(0, Path("/run/trogdor"))
    for path in candidates:
        with suppress(OSError):
            path.mkdir(mode=0o700, exist_ok=True)
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_uid == uid and os.access(path, os.W_OK):
                return path
    tried = ", ".join(map(str, candidates))
    raise LabError(f"none of {tried} is a directory of yours; set XDG_RUNTIME_DIR to a directory that is")


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with open(directory / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_held(directory: Path) -> bool:
    """Whether a keeper lives: it holds the lab's lock for as long as it does."""
    try:
        with open(directory / _LOCK_FILE) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def sweep(directory: Path) -> None:
    """Remove the files of a lab whose keeper is gone."""
    try:
        plan = Plan.from_json((directory / PLAN_FILE).read_text())
    except (OSError, ValueError, TypeError, KeyError):
        plan = None
    if plan and not plan.keep_state:
        shutil.rmtree(plan.state, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)


def reserve(name: str | None) -> tuple[Path, int]:
    """A directory for a new lab and its lock, held, to be given to the keeper.

    An unnamed lab gets a name that no other has had, so that a handle that outlives it reaches none. What labs
    left whose keeper was killed is removed first. Raises LabError for a bad or taken name.
    """
    if name is not None and not _NAME.fullmatch(name):
        raise UnknownLab(f"bad lab name {name!r}: 1 to 31 letters, digits, '.', '_' and '-'")
    top = runtime_directory()
    with _locked(top):
        for directory in [entry for entry in top.iterdir() if entry.is_dir()]:
            if (directory / _LOCK_FILE).exists() and not _is_held(directory):
                sweep(directory)
        directory = top / (name or f"lab-{secrets.token_hex(3)}")
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            raise UnknownLab(f"a lab {name!r} is up already; `trogdor lab down {name}` ends it") from None
        lock = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return directory, lock


def free_name() -> str:
    """`lab1`, or the first of `lab2`, `lab3`, … that no lab has."""
    top = runtime_directory()
    number = 1
    while (top / f"lab{number}").exists():
        number += 1
    return f"lab{number}"


def keeper_pid(directory: Path) -> int | None:
    """The process to be asked to end a lab; None when it is gone."""
    try:
        pid = int((directory / _LOCK_FILE).read_text())
    except (OSError, ValueError):
        return None
    return pid if _is_held(directory) else None


def running() -> dict[str, Plan]:
    """The labs of this user that are up, by name."""
    found = {}
    for directory in sorted(runtime_directory().iterdir()):
        try:
            plan = Plan.from_json((directory / PLAN_FILE).read_text())
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if _is_held(directory):
            found[plan.name] = plan
    return found
