"""Stopped processes on Windows: ntdll's NtSuspendProcess and NtResumeProcess, which count. Never run on Windows.

Standard library only.
"""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from trogdor.claim.model import CannotInject, Claim, Json, Trouble
from trogdor.claim.resource import Resource
from trogdor.platform.windows.powershell import run

STOPPED, RUNNING = "stopped", "running"
SUSPEND_RESUME = 0x0800
"""PROCESS_SUSPEND_RESUME of OpenProcess."""


def looking(pid: int) -> str:
    """The script that prints a process's start, and whether each of its threads is suspended. Pure."""
    return (
        f"$p = Get-Process -Id {pid} -ErrorAction SilentlyContinue; if ($p) {{ $p.StartTime.ToFileTimeUtc(); "
        "$p.Threads | ForEach-Object { if ($_.ThreadState -eq 'Wait') { $_.WaitReason } else { $_.ThreadState } } }"
    )


def seen(key: str, printed: str) -> Json:
    """What ``looking`` printed of the process with this key: ``stopped``, ``running``, or None where it is gone."""
    started, *threads = printed.split() or [""]
    if started != key.partition("@")[2]:
        return None
    return STOPPED if threads and all(state == "Suspended" for state in threads) else RUNNING


class Suspend(Resource):
    """Processes by ``pid@start``. A value is ``stopped``, ``running`` or None, when the process is gone."""

    kind: ClassVar[str] = "suspend"
    undone_by: ClassVar[str] = "the warden, or else the next agent, resumes every process that ran before"

    def base(self, key: str) -> Json:
        return self.observe(key)

    def apply(self, claims: Sequence[Claim], bases: Mapping[str, Json], now_ns: int) -> Mapping[str, Trouble]:
        """Suspending counts, so that only what does not show the wanted state already is told."""
        claimed = {claim.key for claim in claims}
        troubles = {}
        for key, base in bases.items():
            state, wanted = self.observe(key), STOPPED if key in claimed else base
            if state is None:
                troubles[key] = Trouble("gone", "the process is gone")
            elif state != wanted and base == RUNNING:
                try:
                    tell(int(key.partition("@")[0]), "NtSuspendProcess" if wanted == STOPPED else "NtResumeProcess")
                except OSError as error:
                    troubles[key] = Trouble("failed", str(error))
        return troubles

    @staticmethod
    def fold(base: Json, wants: Sequence[Json]) -> Json:
        return STOPPED if wants and base is not None else base

    def observe(self, key: str) -> Json:
        return seen(key, run(looking(int(key.partition("@")[0]))))

    def prepare(self, claims: Sequence[Claim]) -> None:
        if not hasattr(ctypes, "WinDLL"):
            raise CannotInject("NtSuspendProcess is Windows'")


def tell(pid: int, function: str) -> None:
    """Calls a function of ntdll with a process's handle. Raises OSError."""
    libraries: Any = ctypes
    kernel32, ntdll = libraries.WinDLL("kernel32", use_last_error=True), libraries.WinDLL("ntdll")
    kernel32.OpenProcess.restype = ctypes.c_void_p
    handle = kernel32.OpenProcess(SUSPEND_RESUME, False, pid)
    if not handle:
        raise OSError(f"OpenProcess {pid}: error {libraries.get_last_error()}")
    try:
        status = getattr(ntdll, function)(ctypes.c_void_p(handle))
        if status:
            raise OSError(f"{function}: status {status & 0xFFFFFFFF:#x}")
    finally:
        kernel32.CloseHandle(ctypes.c_void_p(handle))
