"""The system calls a lab is made of, for which Python 3.10 has no names: unshare, setns, mount, prctl."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15

_libc = ctypes.CDLL(None, use_errno=True)


def _call(what: str, function: str, *arguments: object) -> None:
    if getattr(_libc, function)(*arguments) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno), what)


def unshare(flags: int) -> None:
    """Leave the named namespaces for new ones (unshare(2)); the pid namespace is the next child's."""
    _call("unshare", "unshare", flags)


def setns(namespace: int, kind: int) -> None:
    """Enter the namespace behind a file descriptor (setns(2))."""
    _call("setns", "setns", namespace, kind)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2); the error names the target."""
    _call(
        f"mount {kind or source} on {target}",
        "mount",
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )


def bind(source: str, target: str) -> None:
    """Show `source`, with all that is mounted below it, at `target` too."""
    mount(source, target, flags=MS_BIND | MS_REC)


def die_with_parent(signal: int) -> None:
    """Be sent `signal` when the thread that forked this process ends (prctl(2), PR_SET_PDEATHSIG)."""
    _call("prctl", "prctl", _PR_SET_PDEATHSIG, ctypes.c_ulong(signal), 0, 0, 0)


def name_process(name: str) -> None:
    """The name that `ps -o comm` shows; the kernel keeps 15 bytes."""
    _call("prctl", "prctl", _PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def enter_user_namespace() -> None:
    """Become root of a new user namespace in which only the caller's own ids exist."""
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER)
    for file, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{file}", "w") as out:
            out.write(text)
