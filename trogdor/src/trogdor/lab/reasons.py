"""Why there can be no lab on a machine, and what to do about it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_KINDS = ("user", "pid", "mnt", "net", "uts", "ipc")
_LIMITS = tuple(
    (f"/proc/sys/user/max_{kind}_namespaces", "0", f"sudo sysctl user.max_{kind}_namespaces=10000") for kind in _KINDS
)
_WITHOUT_ROOT = (
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)


def explain(number: int, reason: str, step: str) -> str:
    """One line or two from the step of setting a lab up that failed: what, why, and the fix."""
    said = f"there can be no lab here: {step}: {reason}"
    advice = _advice(number, reason, step)
    return f"{said}\n{advice}" if advice else said


def _advice(number: int, reason: str, step: str) -> str:
    if number in (errno.EPERM, errno.EACCES, errno.ENOSPC):
        for file, bad, fix in (*_LIMITS, *(_WITHOUT_ROOT if os.geteuid() != 0 else ())):
            if _read(file) == bad:
                return f"{file} is {bad}; type:\n  {fix}"
        if "Seccomp:\t2" in _read("/proc/self/status"):
            return (
                "a seccomp filter, as containers have, forbids it. Start the container with:\n"
                "  --privileged, or --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
                " --security-opt systempaths=unconfined"
            )
        return "run it as root, or where user namespaces are allowed; `trogdor doctor` says more"
    if number == errno.EOPNOTSUPP and step.startswith(("bridge", "veth")):
        return "the kernel lacks a module; as root, type:\n  modprobe -a bridge veth"
    if "AF_UNIX path too long" in reason:
        return "a socket's path has 107 bytes at most: set XDG_RUNTIME_DIR to a shorter directory"
    return ""


def _read(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError:
        return ""
